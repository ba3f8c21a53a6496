"""Conditions that a labelled picture tells of itself: how far the face is turned, and how bright it is."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from qlot.model.layout import Layout
from qlot.training.data.clip import Array, Image

TURN = (0.0, 10.0, 20.0, math.inf)  # degrees
BRIGHTNESS = (0.0, 80.0, 110.0, math.inf)  # mean level of 255 inside the labels' box


def conditions(picture: Image, landmarks: Array, layout: Layout) -> tuple[str, ...]:
    """Name the range of the turn and that of the brightness; none for labels that are not all there.

    Brightness is that of light, camera and skin together: it stands in for none of them.
    """
    if not np.isfinite(landmarks).all():
        return ()
    (left, top), (right, bottom) = np.maximum(np.floor(landmarks.min(0)), 0).astype(int), landmarks.max(0).astype(int)
    inside = picture[top : bottom + 1, left : right + 1]
    named = [_range("turned", turn(landmarks, layout), TURN, "degrees")]
    if inside.size:
        named.append(_range("mean level", float(inside.mean()), BRIGHTNESS, "of 255"))
    return tuple(named)


def turn(landmarks: Array, layout: Layout) -> float:
    """Return by how many degrees a face looks to one side, without sign.

    The rotation is the nearest one to the affine map that takes the canonical points to the landmarks, least squares
    (weak perspective). Jaw labels follow the outline and not the bone, so they are left out.

    Args:
        landmarks: (N, 2) pixels.
        layout: of the landmarks.
    """
    jaw = set(layout.groups.get("jaw", ()))
    rest = [i for i in range(len(layout)) if i not in jaw]
    points, seen = np.array(layout.points)[rest], landmarks[rest] * (1.0, -1.0)
    affine = np.linalg.lstsq(points - points.mean(0), seen - seen.mean(0), rcond=None)[0].T
    u, _, v = np.linalg.svd(affine, full_matrices=False)
    across, up = u @ v
    return abs(math.degrees(math.atan2(across[2], np.cross(across, up)[2])))


def _range(what: str, value: float, edges: tuple[float, ...], unit: str) -> str:
    low, high = next((a, b) for a, b in pairwise(edges) if a <= value < b)
    return f"{what} {low:g} to {high:g} {unit}" if math.isfinite(high) else f"{what} {low:g} {unit} or more"
