"""Errors against points placed by people, on made-up faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qlot.benchmarks.faces.placed import EYE_CORNERS, LIDS, MOUTH_CORNERS, PUPILS, placed_errors, read_placed
from qlot.metrics import eye_corners
from qlot.model.layout import Layout, load_layout
from qlot.training.data.clip import DataError


def made(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return landmarks (3, N, 2) of the canonical face and the points (3, 189, 2) that people would place on it."""
    found = np.repeat((layout.points[:, :2] * (50, -50) + 100)[None], 3, 0)
    placed = np.full((3, 189, 2), 500.0)
    for side, (outer, inner) in EYE_CORNERS.items():
        ring = layout.groups[side]
        first, last = eye_corners(ring, layout.points)
        placed[:, outer], placed[:, inner] = found[:, first], found[:, last]
        x, middle = layout.points[:, 0], layout.points[[first, last], 1].mean()
        for line, way in zip(LIDS[side], (1, -1), strict=True):
            lid = sorted(
                (i for i in ring if way * (layout.points[i, 1] - middle) > 0 and i not in (first, last)),
                key=lambda i: x[i],
            )
            picked = (lid * 3)[:3] if len(lid) < 3 else [lid[0], lid[len(lid) // 2], lid[-1]]
            placed[:, line[1:4]] = found[:, sorted(picked, key=lambda i: x[i])]
    for mine, theirs in zip(eye_corners(layout.groups["outer_lips"], layout.points), MOUTH_CORNERS, strict=True):
        placed[:, theirs] = found[:, mine]
    for name, i in PUPILS.items():
        if name in layout.groups:
            placed[:, i] = found[:, layout.groups[name][0]]
    return found, placed


@pytest.mark.parametrize("name", ["wflw98", "ibug68"])
def test_what_lies_on_the_points_has_no_error_and_a_shift_shows(name: str) -> None:
    layout = load_layout(name)
    found, placed = made(layout)
    errors = placed_errors(found, placed, layout)
    assert max(errors.values()) < 1e-9
    assert ("pupils" in errors) == (name == "wflw98")
    eyes = np.linalg.norm(placed[0, 18] - placed[0, 27])
    moved = placed_errors(found + np.array([0, 2]), placed, layout)
    assert moved["eye corners"] == pytest.approx(200 / eyes) == moved["mouth corners"]
    assert 0 < moved["lids"] <= 200 / eyes


def test_pictures_without_placed_points_are_left_out_and_tables_without_any_refused(tmp_path: Path) -> None:
    points = np.ones((4, 189, 2))
    points[[0, 2]] = np.nan
    np.savez(tmp_path / "faces.npz", frl189=points)
    rows, placed = read_placed(tmp_path / "faces.npz")
    assert rows.tolist() == [1, 3] and placed.shape == (2, 189, 2)
    np.savez(tmp_path / "other.npz", names=np.array(["a"]))
    with pytest.raises(DataError, match="no points placed by people"):
        read_placed(tmp_path / "other.npz")
