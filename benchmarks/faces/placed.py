"""How far landmarks are from points that people placed: corners of eyes and mouths, lids, pupils.

The points are those of the Face Research Lab London Set and its Canadian sister (DeBruine & Jones, 2017), 189 a face.
Lids are curves, so a landmark counts by its distance from the curve, wherever along it a layout has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlot.metrics import curve_distance, eye_corners
from qlot.model.layout import Layout
from qlot.training.data.clip import Array, DataError

# Of the 189; the side that is left in the picture, the subject's right, comes first.
EYE_CORNERS: Final = {"right_eye": (18, 22), "left_eye": (23, 27)}
LIDS: Final = {
    "right_eye": ((18, 19, 20, 21, 22), (18, 28, 29, 30, 22)),
    "left_eye": ((23, 24, 25, 26, 27), (23, 31, 32, 33, 27)),
}
MOUTH_CORNERS: Final = (87, 93)
PUPILS: Final = {"right_pupil": 0, "left_pupil": 1}
OUTER_EYES: Final = (18, 27)
PLACED: Final = "frl189"


def read_placed(table: Path) -> tuple[NDArray[np.intp], Array]:
    """Return which pictures of a table have placed points (F,), and these (F, 189, 2), pixels.

    Raises:
        DataError: the table has none.
    """
    try:
        with np.load(table) as data:
            points = data[PLACED].astype(np.float64)
    except (OSError, ValueError, KeyError) as e:
        raise DataError(f"{table}: no points placed by people in it ({e})") from e
    known = np.flatnonzero(np.isfinite(points).all((1, 2)))
    return known, points[known]


def placed_errors(found: Array, placed: Array, layout: Layout) -> Mapping[str, float]:
    """Return mean errors in % of the outer-eye distance.

    Args:
        found: (F, N, 2) landmarks.
        placed: (F, 189, 2).
        layout: of the landmarks; what it lacks is left out.
    """
    scale = 100 / np.linalg.norm(placed[:, OUTER_EYES[0]] - placed[:, OUTER_EYES[1]], axis=-1)
    corners, lids = list[Array](), list[Array]()
    for side, ends in EYE_CORNERS.items():
        ring = layout.groups[side]
        ours = eye_corners(ring, layout.points)
        corners += [_apart(found[:, a], placed[:, b], scale) for a, b in zip(ours, ends, strict=True)]
        for i in set(ring) - set(ours):
            curves = [curve_distance(found[:, [i]], placed[:, line])[:, 0] for line in map(list, LIDS[side])]
            lids.append(np.minimum(*curves) * scale)
    mouth = eye_corners(layout.groups["outer_lips"], layout.points)
    pupils = [
        _apart(found[:, layout.groups[name][0]], placed[:, i], scale)
        for name, i in PUPILS.items()
        if name in layout.groups
    ]
    result = {
        "eye corners": float(np.mean(corners)),
        "mouth corners": float(
            np.mean([_apart(found[:, a], placed[:, b], scale) for a, b in zip(mouth, MOUTH_CORNERS, strict=True)])
        ),
        "lids": float(np.mean(lids)),
    }
    return result | ({"pupils": float(np.mean(pupils))} if pupils else {})


def _apart(a: Array, b: Array, scale: Array) -> Array:
    return np.asarray(np.linalg.norm(a - b, axis=-1) * scale)
