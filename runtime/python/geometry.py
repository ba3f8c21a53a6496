"""Where a crop lies in a frame, and the arrays that positions come in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class CropBox:
    """A square in upright frame pixels. Pixel centres at integers; the frame spans [-0.5, W - 0.5]."""

    center_x: float
    center_y: float
    side: float  # pixels
