"""A real tracker for a drawn pattern: its stages find a red disc in the crop and place a face of five points on it.

It stands in for the network where the tracker's behaviour is tested and the truth must be known: it looks at the crop's
pixels only, sees a disc as far as the crop shows it, and is unsure where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import TrackerSpec
from qlot.runtime.geometry import FloatArray
from qlot.runtime.network.state import State

SIZE, CHANNELS = 48, 4
RADIUS = 0.5  # of the disc, canonical units; its centre is the centre of the crop rule
POINTS = np.array([[-0.4, 0.1, 0.0], [0.4, 0.1, 0.0], [0.0, -0.3, 0.3], [-0.2, -0.6, 0.1], [0.3, -0.6, 0.1]])
CENTER = np.array([0.0, -0.34])
SIGMA = 0.02  # canonical units, where the disc is seen in full


class DiscStages:
    """Stages whose "network" is arithmetic: centroid and area of what is red."""

    size = SIZE

    def extract(self, image: FloatArray) -> Mapping[str, FloatArray]:
        red = np.clip(image[0, 0] - image[0, 1], 0, 1).astype(np.float64)
        area = red.sum()
        y, x = np.mgrid[: self.size, : self.size]
        center = [(red * x).sum() / area, (red * y).sum() / area] if area > 4 else [0.0, 0.0]
        return {"disc": np.array([*center, np.sqrt(area / np.pi)], np.float32)}

    def refine(self, features: Mapping[str, FloatArray], state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        x, y, radius = features["disc"].astype(np.float64)
        scale = max(radius, 1e-9) / RADIUS
        target = (POINTS[:, :2] - CENTER) * (scale, -scale) + (x, y)
        seen = radius > 1.5
        displacement = (target - state.landmarks[0, :, :2]) if seen else np.zeros_like(target)
        covariance = np.zeros((1, len(POINTS), 3))
        covariance[..., :2] = np.log(SIGMA * scale) if seen else np.log(self.size / 2)
        return displacement[None].astype(np.float32), covariance.astype(np.float32), state.hidden + np.float32(1)


def disc_spec(**tracking: Any) -> TrackerSpec:
    """Constants for the disc: sure where it is seen, lost where not."""
    n = len(POINTS)
    return TrackerSpec.model_validate(
        {
            "preprocessing": {"size": SIZE, "crop": {"center": tuple(CENTER), "side": 2.4}},
            "state": {
                "landmarks": (1, n, 7), "hidden": (1, n, CHANNELS), "init": "", "reset": "", "crop_change": "",
                "clamp_position": 2.0, "clamp_log_sigma": (-10.0, 3.0),
            },
            "iterations": {"cold": 3, "tracking": 1},
            "gate": {"radius": 0.0, "cutoff": 0.0},
            "confidence": {"bias": -6.0, "w_spread": -4.0, "found": 0.8, "lost": 0.4, "calibration": "the disc"},
            "tracking": tracking,
            "layout": {
                "name": "disc", "points": tuple(map(tuple, POINTS.tolist())), "names": tuple("abcde"),
                "groups": {}, "mirror": (1, 0, 2, 4, 3), "edges": (), "outer_eyes": (0, 1),
            },
        }
    )  # fmt: skip


def truth(x: float, y: float, radius: float) -> NDArray[np.float64]:
    """(5, 2): where the landmarks of a disc are."""
    return (POINTS[:, :2] - CENTER) * (radius / RADIUS, -radius / RADIUS) + (x, y)


def scene(x: float, y: float, radius: float, width: int = 160, height: int = 120) -> NDArray[np.uint8]:
    """A smooth-edged red disc on a grey gradient; radius 0: no disc."""
    rows, columns = np.mgrid[:height, :width]
    frame = np.repeat((60 + columns * 0.3 + rows * 0.2)[..., None], 3, -1)
    cover = np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1)[..., None] if radius > 0 else 0.0
    return (frame * (1 - cover) + np.array([255.0, 0.0, 0.0]) * cover).round().astype(np.uint8)
