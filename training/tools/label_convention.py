"""Fit where the 68 labels have jaw, brows and nose, from a teacher's points of the same pictures.

    python -m qlot.training.tools.label_convention DATA TEACHER model/conventions/NAME.json

DATA has the shared faces, TEACHER what `python -m qlot.training.tools.teacher` made of them. Per landmark, what lies
between its place on the teacher's lines and the label is one vector on the canonical face, turned and scaled as each
face is; robust least squares over all training faces and their mirror images. Writes a table of
`qlot.model.convention`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import typer

from qlot.metrics import interocular
from qlot.model.layout import Layout, load_layout
from qlot.runtime.partial import written_whole
from qlot.training.data.clip import Array
from qlot.training.data.interpolation import Interpolation
from qlot.training.data.sources.stills import LABEL_OFFSET, LabelledFaces

TEACHER: Final = "mediapipe478"
LABELLED: Final = "ibug68"
GROUPS: Final = ("jaw", "right_brow", "left_brow", "nose")  # other groups have features that both conventions see
ROUNDS: Final = 5
POWERS: Final = 8
LEAST: Final = 0.02  # of the outer-eye distance: errors below count alike


def fit_moves(teacher: Array, labels: Array) -> Array:
    """Return (68, 3), canonical units: from the layout's points to where the labels have them; 0 outside `GROUPS`.

    Args:
        teacher: (F, N, 2) pixels.
        labels: (F, 68, 2) pixels.
    """
    layout, mesh = load_layout(LABELLED), load_layout(TEACHER)
    assert layout.outer_eyes is not None
    between = Interpolation.between(mesh, layout)
    scale = 1 / interocular(labels, layout.outer_eyes)
    poses = np.stack([between.pose(frame) for frame in teacher])  # (F, 3, 2)
    known = (layout.points - between.places_on(mesh.points[None])[0]) @ poses
    missing = (labels - between.places_on(teacher) - known) * scale[:, None, None]
    design = (poses * scale[:, None, None]).transpose(0, 2, 1)  # (F, 2, 3)
    moves = np.zeros((len(layout.points), 3))
    for i in [i for group in GROUPS for i in layout.groups[group]]:
        a = np.concatenate([design, design * (-1, 1, 1)])
        b = np.concatenate([missing[:, i], missing[:, layout.mirror[i]]])
        for _ in range(ROUNDS):
            weight = np.sqrt(1 / np.maximum(np.linalg.norm(a @ moves[i] - b, axis=1), LEAST))[:, None]
            solved = np.linalg.lstsq((a * weight[..., None]).reshape(-1, 3), (b * weight).reshape(-1), rcond=None)
            moves[i] = solved[0]
    jaw = list(layout.groups["jaw"])
    moves[jaw] = smooth(moves[jaw])
    return moves


def smooth(moves: Array) -> Array:
    """Return a jaw's moves (K, 3) without kinks: odd powers of the place along it in x, even ones in y and z."""
    place = np.linspace(-1, 1, len(moves))
    result = np.empty_like(moves)
    for axis, first in enumerate((1, 0, 0)):
        powers = place[:, None] ** np.arange(first, POWERS, 2)
        result[:, axis] = powers @ np.linalg.lstsq(powers, moves[:, axis], rcond=None)[0]
    return result


def spread(moves: Array, layout: Layout) -> tuple[Array, Array]:
    """Return the points of a layout's `GROUPS` (K, 3), and moves: of the two nearest of the 68 in the same group."""
    labelled = load_layout(LABELLED)
    found, chosen = np.zeros_like(layout.points), list[int]()
    for group in GROUPS:
        rows = np.array(labelled.groups[group])
        for i in layout.groups.get(group, ()):
            apart = np.linalg.norm(labelled.points[rows] - layout.points[i], axis=1)
            near = np.argsort(apart)[:2]
            weights = 1 / np.maximum(apart[near], 1e-6) ** 2
            found[i] = weights @ moves[rows[near]] / weights.sum()
            chosen.append(i)
    found = (found + found[list(layout.mirror)] * (-1, 1, 1)) / 2  # of points on the midline, one side was nearest
    return layout.points[chosen], found[chosen]


def main(data: Path, teacher: Path, out: Path) -> None:
    """Fit and write a table of OUT; places depend a little on the table before, so run it until it stands."""
    faces = data / "faces" / "faces_train"
    labels = LabelledFaces(faces, LABELLED, offset=LABEL_OFFSET).landmarks.astype(np.float64)
    points = LabelledFaces(faces, TEACHER, table=teacher / "faces" / "faces_train.npz").landmarks.astype(np.float64)
    known = np.isfinite(points).all((1, 2))
    moves = fit_moves(points[known], labels[known])
    tables = [spread(moves, load_layout(name)) for name in (LABELLED, "wflw98")]
    at, found = (np.concatenate(part) for part in zip(*tables, strict=True))
    _, once = np.unique(at.round(4), axis=0, return_index=True)
    with written_whole(out) as temporary:
        temporary.write_text(_json(at[np.sort(once)], found[np.sort(once)]), encoding="utf-8")
    typer.echo(f"{out}: {len(once)} points move by {np.linalg.norm(found, axis=1).mean():.4f} on average")


def _json(points: Array, moves: Array) -> str:
    def rows(table: Array) -> str:
        return ",\n  ".join(json.dumps([round(x, 6) for x in row]) for row in table.tolist())

    return f'{{\n "points": [\n  {rows(points)}\n ],\n "moves": [\n  {rows(moves)}\n ]\n}}\n'


if __name__ == "__main__":
    typer.run(main)
