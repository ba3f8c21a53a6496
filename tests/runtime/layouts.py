"""A small layout and answers for the tests of what is made of a tracker's results."""

from __future__ import annotations

import numpy as np

from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.result import Status, TrackResult

LAYOUT = LayoutSpec(
    name="four",
    points=((-0.5, 0.3, 0.0), (0.5, 0.3, 0.0), (0.0, 0.0, 0.2), (0.0, -0.5, 0.0)),
    names=("left_eye", "right_eye", "nose", "mouth"),
    groups={"eyes": (0, 1)},
    mirror=(1, 0, 2, 3),
    edges=((0, 2), (1, 2)),
    outer_eyes=(0, 1),
)
POINTS = np.array([[40.0, 30.0], [80.0, 30.0], [60.0, 50.0], [60.0, 75.0]])


def answer(
    timestamp: float = 0.0,
    points: np.ndarray | None = POINTS,
    sigma: float = 1.0,
    status: Status = Status.TRACKING,
    confidence: float = 0.9,
) -> TrackResult:
    """Landmarks with round covariances, or with `points=None` an answer without a face."""
    covariances = None if points is None else np.tile(np.eye(2, dtype=np.float32) * sigma**2, (len(points), 1, 1))
    return TrackResult(
        timestamp,
        status if points is not None or status != Status.TRACKING else Status.SEARCHING,
        None if points is None else points.astype(np.float32),
        covariances,
        confidence,
        CropBox(60, 50, 70),
        1,
        {"crop": 1.0, "extractor": 2.0, "refiner": 0.5, "total": 3.6},
    )
