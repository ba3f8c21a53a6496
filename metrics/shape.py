"""Shapes that a user sees at once, apart from any error of position: open eyes, where they look, a smooth jaw.

Landmarks are (T, N, 2) in pixels or any other unit; what is returned has none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

UNCHANGED = 1e-9  # standard deviation of what only floats' rounding moves
DEEPEST = 0.03  # share of a clip's frames, at least one, that count as its closed eyes
LEAST_DEPTH = 0.25  # of the usual aperture: a clip whose labels close less has no blink


def eye_corners(ring: Sequence[int], points: Array) -> tuple[int, int]:
    """Return the corners of an eye: the ends in x of its lids' landmarks on the canonical face (N, 3)."""
    x = points[list(ring), 0]
    return ring[int(x.argmin())], ring[int(x.argmax())]


def aperture(landmarks: Array, ring: Sequence[int], corners: tuple[int, int]) -> Array:
    """Return (T,) how far an eye is open: the area within its lids over the squared distance of its corners.

    Args:
        landmarks: (T, N, 2).
        ring: the lids' landmarks in order around the eye, corners included.
        corners: of the eye.
    """
    x, y = np.moveaxis(landmarks[:, list(ring)], -1, 0)
    area = 0.5 * np.abs((x * np.roll(y, -1, 1) - np.roll(x, -1, 1) * y).sum(1))
    return np.asarray(area / _width(landmarks, corners) ** 2)


def pupil_place(landmarks: Array, pupil: int, corners: tuple[int, int]) -> Array:
    """Return (T,) where a pupil is between the corners of its eye, along the line between them, in their distances."""
    a, b = landmarks[:, corners[0]], landmarks[:, corners[1]]
    along = ((landmarks[:, pupil] - a) * (b - a)).sum(-1)
    return np.asarray(along / _width(landmarks, corners) ** 2)


def blink_depth(found: Array, true: Array) -> float | None:
    """Return how much of the depth of a clip's blinks was followed, 1 for all of it.

    The depth is the fall from the median aperture to the mean of the frames in which the labels' eyes are most closed.
    None if the labels never close by a quarter.
    """
    closed = np.argsort(true)[: max(1, round(DEEPEST * len(true)))]
    depth = np.median(true) - true[closed].mean()
    if not depth > LEAST_DEPTH * np.median(true):
        return None
    return float((np.median(found) - found[closed].mean()) / depth)


def followed(found: Array, true: Array) -> float | None:
    """Return the share of a movement that was followed: the slope of what was found over the truth; noise adds none."""
    moved = true - true.mean()
    spread = float((moved**2).sum())
    return float((moved * (found - found.mean())).sum() / spread) if true.std() > UNCHANGED else None


def correlation(found: Array, true: Array) -> float | None:
    """Return Pearson's r, or None where either does not change."""
    if min(found.std(), true.std()) < UNCHANGED:
        return None
    return float(((found - found.mean()) * (true - true.mean())).mean() / (found.std() * true.std()))


def bend(points: Array) -> Array:
    """Return (T,) how much contours (T, n, 2) bend: mean length of second differences over mean length of a segment."""
    segments = np.diff(points, axis=1)
    bends = np.linalg.norm(np.diff(segments, axis=1), axis=-1).mean(1)
    return np.asarray(bends / np.linalg.norm(segments, axis=-1).mean(1))


def curve_distance(points: Array, curve: Array) -> Array:
    """Return (T, n) how far points (T, n, 2) lie from a curve of straight pieces through (T, k, 2)."""
    start, along = curve[:, None, :-1], np.diff(curve, axis=1)[:, None]  # (T, 1, k - 1, 2)
    offset = points[:, :, None] - start
    share = (offset * along).sum(-1) / np.maximum((along**2).sum(-1), np.finfo(np.float64).tiny)
    return np.asarray(np.linalg.norm(offset - share.clip(0, 1)[..., None] * along, axis=-1).min(-1))


def _width(landmarks: Array, corners: tuple[int, int]) -> Array:
    return np.asarray(np.linalg.norm(landmarks[:, corners[1]] - landmarks[:, corners[0]], axis=-1))
