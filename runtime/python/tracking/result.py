"""What a tracker returns for a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from qlot.runtime.geometry import CropBox, FloatArray


class Status(StrEnum):
    """searching: no face yet; tracking: landmarks are current; lost: just lost, re-acquisition near the last place."""

    SEARCHING = "searching"
    TRACKING = "tracking"
    LOST = "lost"


@dataclass(frozen=True)
class TrackResult:
    """One frame's answer. Positions are pixels of the frame that was passed in, pixel centres at integers.

    While searching or lost there are no landmarks: both arrays are None.
    """

    timestamp: float  # seconds, as passed in
    status: Status
    landmarks: FloatArray | None  # (N, 2) x, y
    covariances: FloatArray | None  # (N, 2, 2), pixels squared
    confidence: float  # 0..1, of the last crop looked at
    crop: CropBox | None  # the last crop looked at, in upright frame pixels
    iterations: int  # refinement steps spent on this frame
    milliseconds: dict[str, float] = field(default_factory=dict)  # stage -> wall time: crop, extractor, refiner, total
    processed: bool = True  # False: the frame was not looked at (repeated or out-of-order time stamp)
