"""A teacher's clips in every layout: no layout may be left to what the encoding of queries makes of its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from qlot.model.layout import load_layout
from qlot.training.data.clip import Clip, Source
from qlot.training.data.interpolation import Interpolation
from qlot.training.data.sources.video import TEACHER

LEAST_APART: Final = 1e-3  # canonical units
SHARES: Final = {TEACHER: 0.5, "wflw98": 0.35, "ibug68": 0.15}


class EveryLayout:
    """A source of `TEACHER`'s clips, of which each has its points or those of another layout, interpolated.

    Args:
        source: the clips.
        shares: of the clips, by layout.
    """

    def __init__(self, source: Source, shares: Mapping[str, float] = SHARES) -> None:
        self.name, self._source, self._shares = f"{source.name}, every layout", source, shares
        layouts = {name: load_layout(name) for name in shares if name != TEACHER}
        teacher = load_layout(TEACHER)
        self._points = {name: layout.points for name, layout in layouts.items()}
        # Two of the teacher's points share their query with another, one iris' foot with a lid: no answer is right.
        apart = np.linalg.norm(teacher.points[:, None] - teacher.points[None], axis=-1)
        self._alone = ~(np.tril(apart < LEAST_APART, -1).any(1))
        self._between = {name: Interpolation.between(teacher, layout) for name, layout in layouts.items()}

    def __len__(self) -> int:
        return len(self._source)

    def identity(self, index: int) -> str:
        """Return the source's."""
        return self._source.identity(index)

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return the source's clip in a layout that is drawn."""
        layout = str(rng.choice(list(self._shares), p=list(self._shares.values())))
        clip = self._source.clip(index, length, rng)
        if layout == TEACHER:
            return replace(clip, valid=clip.valid & self._alone)
        known = np.where(clip.valid[..., None], clip.landmarks, np.nan)
        landmarks = self._between[layout](known)
        valid = np.asarray(np.isfinite(landmarks).all(-1), np.bool_)
        return replace(
            clip, landmarks=np.nan_to_num(landmarks), valid=valid, queries=self._points[layout], layout=layout
        )
