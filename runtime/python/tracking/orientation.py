"""How a frame as passed in lies to the upright frame the network sees, and the way back for points and covariances.

Convention: the passed frame is first un-mirrored, left to right as passed, then turned clockwise by `rotation` degrees.
So the subject's left eye stays the left eye. Pixel centres are at integers in both frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.errors import FrameError

# Upright -> passed, clockwise turns undone.
_LINEAR = {
    0: ((1.0, 0.0), (0.0, 1.0)),
    90: ((0.0, 1.0), (-1.0, 0.0)),
    180: ((-1.0, 0.0), (0.0, -1.0)),
    270: ((0.0, -1.0), (1.0, 0.0)),
}
TURNS = tuple(_LINEAR)  # degrees clockwise


@dataclass(frozen=True)
class Orientation:
    """Clockwise degrees by which a passed frame must be turned to be upright, and whether it is a mirror image.

    Raises:
        FrameError: the rotation is not 0, 90, 180 or 270.
    """

    rotation: int = 0
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.rotation not in TURNS:
            raise FrameError(f"rotation must be 0, 90, 180 or 270 degrees clockwise, got {self.rotation!r}.")

    def upright(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the upright view (no copy) of a passed frame (H, W, 3)."""
        return np.rot90(rgb[:, ::-1] if self.mirrored else rgb, -(self.rotation // 90))

    def points_back(self, points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """Map upright points (..., 2) to pixels of a passed frame of the given width and height."""
        return points @ self._linear.T + self._offset(width, height)

    def points_upright(self, points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """Map points (..., 2) of a passed frame of the given width and height to upright pixels."""
        return (points - self._offset(width, height)) @ self._linear

    def covariances_back(self, covariances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn upright covariances (..., 2, 2) into those of the passed frame."""
        return self._linear @ covariances @ self._linear.T

    @property
    def _linear(self) -> NDArray[np.float64]:
        return np.array(_LINEAR[self.rotation]) * ([[-1.0], [1.0]] if self.mirrored else 1.0)

    def _offset(self, width: int, height: int) -> NDArray[np.float64]:
        # an axis that runs backwards starts at its last pixel
        return np.where(self._linear.sum(1) < 0, (width - 1.0, height - 1.0), 0.0)
