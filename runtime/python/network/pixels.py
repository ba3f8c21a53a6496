"""Crops of 8 bits a channel, for graphs whose `image` is declared uint8 (Core ML's image type)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.tracking.result import FloatArray


def to_bytes(image: FloatArray) -> NDArray[np.uint8]:
    """Round a network input in [0, 1] to 0..255, halves to even; what lies outside is clipped."""
    return np.rint(image * np.float32(255)).clip(0, 255).astype(np.uint8)
