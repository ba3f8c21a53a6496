"""How steady predictions are over time, apart from how accurate they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nmf(errors: Array, size: Array | float) -> float:
    """Normalised mean flicker of one clip: 100 RMS over time and landmarks of |e_t - e_(t-1)| * 256 / size.

    Args:
        errors: prediction minus label (T, N, 2) in pixels, T >= 2.
        size: square root of width times height of the face in pixels, one number or (T,).
    """
    steps = np.diff(errors, axis=0)
    scale = 256 / np.broadcast_to(size, len(errors))[1:, None]
    return float(100 * np.sqrt(np.mean((np.linalg.norm(steps, axis=-1) * scale) ** 2)))


def nad(errors: Array, normaliser: float, block: int) -> float:
    """Normalised Allan deviation: RMS over landmarks of the Allan deviation of e / d over blocks of frames.

    sigma^2(m) = 1/2 <|mean of a block - mean of the block before|^2> (Allan, Proc. IEEE 54, 1966), non-overlapping.

    Args:
        errors: prediction minus label (T, N, 2) in pixels.
        normaliser: d in pixels.
        block: frames m per block; at least two blocks must fit.
    """
    blocks = len(errors) // block
    if blocks < 2:
        raise ValueError(f"{len(errors)} frames hold fewer than two blocks of {block}")
    means = errors[: blocks * block].reshape(blocks, block, *errors.shape[1:]).mean(1) / normaliser
    return float(np.sqrt(np.mean(np.sum(np.diff(means, axis=0) ** 2, -1) / 2)))


def second_difference(positions: Array, normaliser: float) -> float:
    """RMS of x_(t+1) - 2 x_t + x_(t-1) over time and landmarks, as a share of the normaliser. positions (T, N, 2)."""
    return float(np.sqrt(np.mean(np.sum(np.diff(positions, 2, axis=0) ** 2, -1)))) / normaliser
