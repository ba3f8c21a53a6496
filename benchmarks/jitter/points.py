"""Which landmarks are compared: the same points of the face for every method, and where the truth has them.

The truth is a mesh vertex per landmark. Conventions differ (a corner of the lips is not the same spot to every data
set), so methods are compared on how their points move, not on where they sit: constant offsets never enter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.training.data.clip import DataError

# iBUG-68 17..67 in order -> FaceMesh, by what the points are called in both: the ends and thirds of each brow, the
# ridge of the nose from its root to its tip, its base, lid corners and lid thirds, lip corners and outlines. The jaw
# (0..16) has no counterpart: iBUG's follows the silhouette, FaceMesh's the mesh.
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
IBUG_TO_MESH = np.array(_BROWS + _NOSE + _EYES + _LIPS)
FIRST_INNER = 17  # of iBUG-68
# Upper and lower lid by vertices of lm68, for all layouts: the vertices that were fitted to FaceMesh's lids lie beside
# the margin and hardly move in a blink.
TRUE_LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
MESH_POINTS = 478  # of FaceLandmarker, and of FaceMesh in its refined form
Pupil = tuple[int, tuple[int, int]]  # of the compared points: a pupil, and the corners of its eye


@dataclass(frozen=True, eq=False)
class PointSet:
    """The compared points C as seen by a bundle's layout, by the truth and by FaceMesh."""

    truth: str  # the landmark set of the rendered clips: lm68 or mediapipe478
    layout: NDArray[np.intp]  # (C,) indices into the bundle's landmarks and into the truth
    mesh: NDArray[np.intp]  # (C,) indices into FaceMesh's landmarks
    outer_eyes: tuple[int, int]  # of the compared points
    lids: tuple[tuple[int, int], ...]  # upper and lower, of the compared points, in the order of TRUE_LIDS
    pupils: tuple[Pupil, ...] = ()  # none in the 68


_IBUG = PointSet(
    truth="lm68",
    layout=np.arange(FIRST_INNER, 68),
    mesh=IBUG_TO_MESH,
    outer_eyes=(36 - FIRST_INNER, 45 - FIRST_INNER),
    lids=tuple((a - FIRST_INNER, b - FIRST_INNER) for a, b in TRUE_LIDS),
)
_MESH = PointSet(
    truth="mediapipe478",
    layout=np.arange(MESH_POINTS),
    mesh=np.arange(MESH_POINTS),
    outer_eyes=(33, 263),
    lids=((160, 144), (158, 153), (385, 380), (387, 373)),
    pupils=((468, (33, 133)), (473, (362, 263))),
)
_SETS = {"ibug68": _IBUG, "ict68": _IBUG, "mediapipe478": _MESH}


def point_set(layout: str) -> PointSet:
    """Return the compared points of a bundle's layout.

    Raises:
        DataError: the rendered clips have no truth for this layout.
    """
    if layout not in _SETS:
        raise DataError(
            f"no exact landmarks are known for the layout {layout!r}: export the bundle with --layout mediapipe478 "
            "(the same points as FaceMesh) or --layout ibug68."
        )
    return _SETS[layout]
