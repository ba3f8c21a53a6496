"""A teacher's stills whose eyes move from frame to frame (`qlot.training.data.eye_motion`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qlot.training.data.clip import Clip, Source
from qlot.training.data.eye_motion import move_eyes, random_moves


class MovingEyes:
    """A source of clips with a teacher's 478 landmarks; in a share of them lids close and irises glance.

    Args:
        source: the clips.
        share: of the clips.
    """

    def __init__(self, source: Source, share: float) -> None:
        self.name, self._source, self._share = f"{source.name}, moving eyes", source, share

    def __len__(self) -> int:
        return len(self._source)

    def identity(self, index: int) -> str:
        """Return the source's."""
        return self._source.identity(index)

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return the source's clip, or one with moving eyes; an iris behind a lid is not valid."""
        clip = self._source.clip(index, length, rng)
        if rng.random() >= self._share:
            return clip
        frames, landmarks = [], []
        for picture, at, known, moves in zip(
            clip.frames, clip.landmarks, clip.valid, random_moves(length, rng), strict=True
        ):
            moved = move_eyes(picture, np.where(known[:, None], at, np.nan), moves)
            frames.append(moved[0])
            landmarks.append(moved[1])
        at = np.stack(landmarks)
        valid = np.asarray(np.isfinite(at).all(-1), np.bool_)
        return replace(clip, frames=frames, landmarks=np.nan_to_num(at), valid=valid)
