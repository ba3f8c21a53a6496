"""Rendered faces from a cache (`qlot.training.data.synthetic.cache`): exact landmarks of any point of the face."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlot.model.convention import as_labelled
from qlot.model.layout import Layout, load_layout
from qlot.training.data.clip import Array, Clip, DataError
from qlot.training.data.crops import LEAST_POINTS
from qlot.training.data.interpolation import CONVENTION
from qlot.training.data.synthetic import ict
from qlot.training.data.synthetic.cache import read_settings
from qlot.training.data.synthetic.camera import project
from qlot.training.data.synthetic.ict import FaceModel, Indices
from qlot.training.data.synthetic.record import Record

SHARES: Final = {"ict68": 0.3, "wflw98": 0.35, "ict": 0.35}  # of the clips, by layout
_JAWS: Final = {"ict68": slice(0, 17), "wflw98": slice(0, 33)}  # fixed to the skin, where labels follow the silhouette
VERTICES: Final = 98
_TURNED: Final = 15.0  # degrees of yaw up to which skin and silhouette agree
# The face without ears, scalp and neck: a box around it on the neutral mesh, cm.
_BOX: Final = np.array([[-7.8, -9.5, 2.0], [7.8, 7.5, 15.0]])


class SyntheticFaces:
    """Scenes of a cache, each a person of its own.

    A clip has the 68 points (layout `ict68`), the 98 of WFLW, whose canonical points lie on this mesh, or `VERTICES`
    random vertices of the face (layout `ict`). Points of the first two are labelled wherever they are, behind a hand
    too: they are to be guessed. Only the jaw line's points, once the face turns by more than 15 degrees, and all random
    vertices are labelled no more than where they are seen.

    Args:
        cache: folder of rendered scenes.
        model: the ICT-FaceKit model they were rendered with.

    Raises:
        DataError: no such cache, no scene in it, or no such model. A damaged scene is reported when it is drawn.
    """

    def __init__(self, cache: Path, model: Path) -> None:
        self.name = f"synthetic/{cache.name}"
        read_settings(cache)
        self._files = sorted(cache.glob("scene_*.npz"))
        if not self._files:
            raise DataError(f"{cache}: no scenes in it; render some: python -m qlot.training.data.synthetic.cache")
        self._model = FaceModel.load(model)
        self._canonical = self._model.canonical(np.arange(ict.VERTICES))
        # A layout's queries, and the vertices that stand for its landmarks: on a jaw, where labels of pictures are.
        wflw, ibug = load_layout("wflw98"), load_layout("ibug68")
        self._fixed = {
            "ict68": (self._canonical[self._model.lm68], self._model.lm68.copy()),
            "wflw98": (wflw.points, self._nearest(wflw, wflw.points)),
        }
        for layout, (_, rows) in zip((ibug, wflw), self._fixed.values(), strict=True):
            jaw = list(layout.groups["jaw"])
            rows[jaw] = self._nearest(layout, as_labelled(layout.points, CONVENTION))[jaw]
        neutral = self._model.neutral[ict.FACE]
        self._face = ((neutral > _BOX[0]) & (neutral < _BOX[1])).all(1)  # (9409,)

    def __len__(self) -> int:
        return len(self._files)

    def identity(self, index: int) -> str:
        """Return the scene: no two show the same person."""
        return f"{self.name}/{self._files[index].stem}"

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return `length` frames, one or two apart; where the scene ends, its motion is played backwards.

        Raises:
            DataError: the scene's file is missing or damaged.
        """
        path = self._files[index]
        record = Record.read(path)
        chosen, stride = _window(len(record.states), length, rng)
        layout = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        rows = self._draw_vertices(record.unhidden[chosen], rng)
        queries, valid = self._canonical[rows], (record.unhidden & record.uncovered)[np.ix_(chosen, rows)]
        if layout == "ict" and valid.sum(1).max() < LEAST_POINTS:
            layout = "wflw98"  # whose points are to be guessed behind whatever covers them
        if layout in self._fixed:
            queries, rows = self._fixed[layout]
            valid = _standard_validity(record, chosen, rows, _JAWS[layout])
        try:
            pictures = {frame: record.picture(frame) for frame in set(chosen.tolist())}
        except ValueError as error:
            raise DataError(f"{path}: {error}; delete it and render again") from error
        return Clip(
            frames=[pictures[frame] for frame in chosen.tolist()],
            landmarks=self._landmarks(record, chosen, rows),
            valid=valid,
            queries=queries,
            layout=layout,
            identity=self.identity(index),
            source=str(path),
            fps=record.fps / stride,
        )

    def _nearest(self, layout: Layout, points: Array) -> Indices:
        """Return the vertex next to each of points (N, 3): a layout's pupils on the eyeballs, others on the skin."""
        pupils = [i for name, members in layout.groups.items() if "pupil" in name for i in members]
        balls = np.concatenate([np.arange(part.start, part.stop) for part in ict.EYEBALLS])
        rows = np.zeros(len(points), np.int64)
        for i, point in enumerate(points):
            among = balls if i in pupils else np.arange(ict.FACE.stop)
            rows[i] = among[np.linalg.norm(self._canonical[among] - point, axis=1).argmin()]
        return rows

    def _draw_vertices(self, unhidden: NDArray[np.bool_], rng: np.random.Generator) -> Indices:
        """Draw vertices that are seen in half of the frames at least, or any if the face has not enough of them."""
        seen = np.flatnonzero(self._face & (unhidden.mean(0) >= 0.5))
        return rng.choice(seen if len(seen) >= VERTICES else np.flatnonzero(self._face), VERTICES, replace=False)

    def _landmarks(self, record: Record, chosen: Indices, rows: Indices) -> Array:
        """Return (L, n, 2) pixels, recomputed from the scene's numbers."""
        states = [record.states[frame] for frame in chosen]
        person = self._model.person(record.scene.identity, rows)
        placed = person.positions(np.stack([state.expression for state in states]))
        camera = record.scene.camera
        return np.stack([project(p, s, camera, record.size) for p, s in zip(placed, states, strict=True)])


def _window(frames: int, length: int, rng: np.random.Generator) -> tuple[Indices, int]:
    """Return (length,) frame numbers and how far they lie apart; numbers beyond the last frame come back."""
    stride = int(rng.integers(1, 3)) if 2 * (length - 1) < frames else 1
    start = int(rng.integers(0, max(1, frames - (length - 1) * stride)))
    numbers = start + stride * np.arange(length)
    turn = max(1, 2 * (frames - 1))
    there = numbers % turn
    return np.minimum(there, turn - there) if frames > 1 else np.zeros(length, np.int64), stride


def _standard_validity(record: Record, chosen: Indices, rows: Indices, jaw: slice) -> NDArray[np.bool_]:
    valid = np.ones((len(chosen), len(rows)), bool)
    turned = np.array([abs(record.states[frame].rotation[0]) > _TURNED for frame in chosen])
    valid[turned, jaw] = record.unhidden[np.ix_(chosen[turned], rows[jaw])]
    return valid
