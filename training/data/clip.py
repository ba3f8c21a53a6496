"""A clip: the one form that every source of training and evaluation material takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.errors import QlotError
from qlot.runtime.geometry import CropBox

Image = NDArray[np.uint8]
Array = NDArray[np.float64]


class DataError(QlotError):
    """Training or evaluation material cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True, eq=False)
class Clip:
    """L frames of one face with labelled landmarks, or of none.

    A still is a clip whose frames are one picture, repeated by reference. A landmark that is not labelled, or not to
    be trusted, in a frame is not valid there; its position may then be anything, NaN included.

    Raises:
        ValueError: shapes that do not fit together, or a valid position that is not finite.
    """

    frames: Sequence[Image]  # L pictures (H, W, 3) uint8 RGB, upright
    landmarks: Array  # (L, N, 2) pixels of the frame, pixel centres at integers
    valid: NDArray[np.bool_]  # (L, N)
    queries: Array  # (N, 3) canonical points of the landmarks, y up
    layout: str  # whose points they are, and by which convention they were labelled: ibug68, mediapipe478, ict, ...
    identity: str  # the person, unique over all sources; what splits go by
    source: str  # where it comes from, for messages and per-clip results
    fps: float | None = None  # frames per second; None for stills
    box: CropBox | None = None  # where to look, if there is no face to say it

    def __post_init__(self) -> None:
        frames, points = len(self.frames), len(self.queries)
        shapes = (self.landmarks.shape, self.valid.shape, self.queries.shape)
        if shapes != ((frames, points, 2), (frames, points), (points, 3)) or not frames:
            raise ValueError(f"{self.source}: {frames} frames do not fit landmarks, validity and queries of {shapes}")
        if not np.isfinite(self.landmarks[self.valid]).all():
            raise ValueError(f"{self.source}: a valid landmark is not finite")
        if self.box is None and not self.has_face:
            raise ValueError(f"{self.source}: a clip without a face says with `box` where to look")

    @property
    def has_face(self) -> bool:
        """Whether anything is labelled at all."""
        return bool(self.valid.any())


class Source(Protocol):
    """A collection of clips. Indices count what can be drawn apart: stills, windows of a video, rendered scenes."""

    name: str

    def __len__(self) -> int: ...

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return a clip of `length` frames; random choices (a start, a subset of landmarks) are drawn from `rng`.

        Raises:
            DataError: what cannot be read, by name.
        """
        ...

    def identity(self, index: int) -> str:
        """Return the clip's identity without decoding it."""
        ...
