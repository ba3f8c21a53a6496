"""Where on the face paint goes: brows, lips, lashes and hair, as distances on the neutral mesh.

Distances are computed once at the vertices and interpolated by the graphics pipeline, so that the edges of brows and
lips are sharper than the mesh. The regions follow the 68 landmarks, whose pictures a landmark network has to find.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.training.data.clip import Array
from qlot.training.data.synthetic import ict
from qlot.training.data.synthetic.ict import FaceModel

_FAR = 9.0  # cm; stands for "not near"


class Material(IntEnum):
    """What a part of the mesh is made of; the fragment shader switches on it."""

    SKIN = 0
    SOCKET = 1
    GUMS = 2
    TEETH = 3
    EYE = 4
    LACRIMAL = 5
    PLAIN = 6  # props of one colour
    HAIR = 7  # props of hair


@dataclass(frozen=True, eq=False)
class Paint:
    """Per vertex of the full mesh; distances in cm on the neutral face."""

    material: NDArray[np.float32]  # (V,) of Material
    place: Array  # (V, 3) neutral position; of an eyeball's vertices, relative to its centre
    brow: Array  # (V,) distance to the nearer brow's line
    lip: Array  # (V,) distance to the outer contour of the lips, positive inside
    lid: Array  # (V,) distance to the nearer eye's contour
    visible_triangles: NDArray[np.int32]  # (T', 3): without lashes and eye layers, which need blending


def paint_of(model: FaceModel) -> Paint:
    """Work out the regions of a model."""
    neutral, points = model.neutral, model.neutral[model.lm68]
    material = np.full(len(neutral), float(Material.SKIN), np.float32)
    material[ict.MOUTH_SOCKET] = Material.SOCKET
    material[ict.EYE_SOCKETS] = Material.SOCKET
    material[ict.GUMS_AND_TONGUE] = Material.GUMS
    material[ict.TEETH] = Material.TEETH
    material[ict.LACRIMAL] = Material.LACRIMAL
    place = neutral.copy()
    for ball in ict.EYEBALLS:
        material[ball] = Material.EYE
        place[ball] -= ict.sphere_centre(neutral[ball])
    brows = [polyline_distance(neutral, points[line]) for line in (slice(17, 22), slice(22, 27))]
    eyes = [polyline_distance(neutral, points[[*range(a, a + 6), a]]) for a in (36, 42)]
    hidden = slice(ict.EYE_BLEND_AND_OCCLUSION.start, ict.LASHES.stop)
    layers = ((model.triangles >= hidden.start) & (model.triangles < hidden.stop)).any(1)
    return Paint(
        material,
        place,
        np.minimum(*brows),
        _inside(neutral, points[48:60]),
        np.minimum(*eyes),
        model.triangles[~layers],
    )


def polyline_distance(points: Array, line: Array) -> Array:
    """Return the distance (n,) of points (n, 3) to a line through (k, 3)."""
    best = np.full(len(points), np.inf)
    for start, end in pairwise(line):
        along = end - start
        share = np.clip((points - start) @ along / (along @ along), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - start - share[:, None] * along, axis=1))
    return best


def _inside(points: Array, contour: Array) -> Array:
    """Return the signed distance in (x, y) to a closed contour (k, 3), positive inside; far off behind it."""
    outline = contour[:, :2].astype(np.float32)
    near = (np.linalg.norm(points - contour.mean(0), axis=1) < 6) & (points[:, 2] > contour[:, 2].min() - 1.5)
    signed = np.full(len(points), -_FAR)
    for index in np.flatnonzero(near):
        x, y = points[index, :2]
        signed[index] = cv2.pointPolygonTest(outline, (float(x), float(y)), True)
    return signed


def hair_depth(neutral: Array, line: float, peak: float, recede: float) -> Array:
    """Return (V,) cm above the hairline: positive where hair grows.

    Args:
        neutral: (V, 3) the neutral mesh.
        line: height in cm of the hairline at the forehead; 9 is a usual one, above 15 nothing grows.
        peak: cm by which a widow's peak comes down in the middle.
        recede: cm by which the line goes back at the temples.
    """
    x, y, z = neutral.T
    front = np.interp(z, [-9, -4.5, -3, 0.5, 2.5, 5, 7, 9], [-8, -6, 1, 3.5, 4, 6, 8, 9])
    front = front + (line - 9) * np.interp(z, [-4, 6], [0.2 if line < 15 else 3.0, 1])
    front = front - peak * np.exp(-((x / 1.5) ** 2)) + recede * np.exp(-(((np.abs(x) - 5) / 1.5) ** 2))
    return np.asarray(y - front)
