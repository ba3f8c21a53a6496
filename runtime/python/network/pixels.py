"""Crops as bytes and as the network takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.geometry import FloatArray


def network_input(crop: NDArray[np.uint8]) -> FloatArray:
    """Return the network's input (1, 3, S, S) in [0, 1] for a crop (S, S, 3) of bytes, RGB."""
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def to_bytes(image: FloatArray) -> NDArray[np.uint8]:
    """Round a network input in [0, 1] to 0..255, halves to even, for graphs whose `image` is declared uint8 (Core ML's
    image type); what lies outside is clipped.
    """
    return np.rint(image * np.float32(255)).clip(0, 255).astype(np.uint8)
