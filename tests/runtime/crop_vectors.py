"""Numbers that every runtime's crop must reproduce; `python -m tests.runtime.crop_vectors` prints the file.

The sampler here is the rule written out (dense weights over a grid wide enough to stand for an unbounded one), not the
code under test.
"""

from __future__ import annotations

import json
import sys
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import CropSpec, TrackingSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.crop import CropPolicy, crop_of, fit_crop
from qlot.runtime.tracking.orientation import Orientation
from qlot.runtime.tracking.search import start_search

SPEC = CropSpec(center=(0.0, -0.34), side=2.4)
BOXES = {
    "identity: pixels map one to one": (CropBox(5.5, 3.5, 8.0), 8),
    "enlarged, off the pixel grid": (CropBox(5.8, 4.3, 3.1), 6),
    "reduced to a third": (CropBox(5.25, 4.0, 15.0), 5),
    "reduced a little": (CropBox(6.1, 3.9, 7.3), 5),
    "over the left and upper edge": (CropBox(0.4, 0.2, 6.0), 6),
    "over the right and lower edge, reduced": (CropBox(11.0, 8.0, 12.0), 4),
    "outside the frame": (CropBox(-20.0, 4.0, 6.0), 4),
    "far larger than the frame": (CropBox(5.5, 4.0, 90.0), 4),
}


def picture() -> NDArray[np.uint8]:
    """A frame of 12 x 9 pixels without any symmetry."""
    return np.random.default_rng(98).integers(0, 256, (9, 12, 3), np.uint8)


def sample_by_definition(rgb: NDArray[np.uint8], box: CropBox, size: int) -> NDArray[np.float64]:
    """(1, 3, S, S): for each output pixel a tent over the unbounded grid, black outside the frame."""
    step = box.side / size
    radius = max(1.0, step)

    def weights(center: float, length: int) -> NDArray[np.float64]:
        rows = np.zeros((size, length))
        for u in range(size):
            place = center + (u + 0.5 - size / 2) * step
            grid = np.arange(np.floor(place - radius) - 1, place + radius + 2)
            tent = np.maximum(0, 1 - np.abs(grid - place) / radius)
            tent /= tent.sum()
            for k, weight in zip(grid.astype(int), tent, strict=True):
                if 0 <= k < length:
                    rows[u, k] = weight
        return rows

    height, width = rgb.shape[:2]
    return np.einsum("uy,yxc,vx->cuv", weights(box.center_y, height), rgb / 255, weights(box.center_x, width))[None]


def vectors() -> dict[str, Any]:
    rng = np.random.default_rng(7)
    points = rng.uniform(-1, 1, (6, 3)).round(3)
    landmarks = (points[:, :2] * (41.0, -41.0) + (160.0, 120.0) + rng.normal(0, 2, (6, 2))).round(3)
    fit = fit_crop(points, landmarks)
    return {
        "sampler": {
            "height": 9,
            "width": 12,
            "rgb": picture().ravel().tolist(),
            "cases": [
                {
                    "name": name,
                    "box": astuple(box),
                    "size": size,
                    "expected": sample_by_definition(picture(), box, size).ravel().round(7).tolist(),
                }
                for name, (box, size) in BOXES.items()
            ],
        },
        "fit": {
            "points": points.tolist(),
            "landmarks": landmarks.tolist(),
            "expected": {"fit": astuple(fit), "crop": astuple(crop_of(fit, SPEC))},
        },
        "policy": _policy(),
        "orientation": [
            {
                "rotation": rotation,
                "mirrored": mirrored,
                "width": 12,
                "height": 9,
                "upright": [1.0, 2.0],
                "expected": Orientation(rotation, mirrored).points_back(np.array([1.0, 2.0]), 12, 9).tolist(),
            }
            for rotation in (0, 90, 180, 270)
            for mirrored in (False, True)
        ],
        "search": [
            {
                "width": width,
                "height": height,
                "last": last and astuple(last),
                "expected": [astuple(c) for c in start_search(width, height, TrackingSpec(), last).candidates],
            }
            for width, height, last in ((64, 48, None), (48, 64, CropBox(20.0, 30.0, 25.0)))
        ],
    }


def _policy() -> list[dict[str, Any]]:
    """Rest, drift past the band, settle, rest again, jump."""
    policy, trace = CropPolicy(CropBox(100.0, 100.0, 80.0)), []
    targets = [
        (101.0, 101.0, 81.0),
        *[(100.0 + 2 * i, 100.0, 80.0 + i) for i in range(6)],
        *[(110.0, 100.0, 85.0)] * 12,
    ]
    targets += [(110.5, 100.5, 85.0), (160.0, 100.0, 85.0), (160.0, 100.0, 130.0)]
    for i, target in enumerate(targets):
        elapsed = (1 / 30, 1 / 60, 1 / 15)[i % 3]
        policy = policy.follow(CropBox(*target), elapsed, TrackingSpec())
        trace.append({"target": target, "elapsed": elapsed, "expected": [*astuple(policy.box), policy.moving]})
    return trace


if __name__ == "__main__":
    sys.stdout.write(json.dumps(vectors()) + "\n")
