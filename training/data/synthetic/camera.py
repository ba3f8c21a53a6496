"""From the mesh to the picture: a pinhole camera in front of the head.

The camera stands on the z axis, looks along -z at the height of the lower face, and sees a square picture. All
lengths are cm; picture coordinates are pixels with pixel centres at integers, x right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlot.training.data.clip import Array
from qlot.training.data.synthetic.ict import CANONICAL_CENTRE
from qlot.training.data.synthetic.motion import FaceState, rotation_matrix

# The crop's centre lies 0.34 canonical units below the canonical centre: a face at rest is in the picture's middle.
_HEIGHT = CANONICAL_CENTRE[1] - 0.34 * 7.5423789


@dataclass(frozen=True)
class Camera:
    """Perspective by distance, magnification by field."""

    distance: float = 60.0  # cm from the head's origin, which lies between the ears
    field: float = 26.0  # cm of the plane through the eyes that the picture's side spans at rest
    height: float = _HEIGHT  # cm of the optical axis above the head's origin

    @property
    def focal(self) -> float:
        """Focal length over the picture's side."""
        return (self.distance - CANONICAL_CENTRE[2]) / self.field


def to_camera(points: Array, state: FaceState, camera: Camera) -> Array:
    """Return points (n, 3) of the head, in cm, as (n, 3) x right, y up and z towards the camera, which is at 0."""
    moved = points @ rotation_matrix(state.rotation).T + state.translation
    return np.asarray(moved - (0.0, camera.height, camera.distance))


def project(points: Array, state: FaceState, camera: Camera, size: int) -> Array:
    """Return the (n, 2) pixels of points (n, 3) of the head in a picture of size x size.

    Points behind the camera have no picture: their pixels are NaN.
    """
    seen = to_camera(points, state, camera)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(seen[:, 2] < 0, -seen[:, 2], np.nan)[:, None]
        flat = seen[:, :2] * (1, -1) / depth
    return np.asarray(flat * camera.focal * size + (size - 1) / 2 + state.shift)
