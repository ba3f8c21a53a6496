"""How steady predictions are over time, apart from how accurate they are."""

from __future__ import annotations

from collections.abc import Sequence

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


def nad_curve(errors: Array, normaliser: float, blocks: Sequence[int]) -> Array:
    """Return `nad` for each length of block (len(blocks),); NaN where fewer than two blocks fit."""
    fits = [len(errors) >= 2 * block for block in blocks]
    return np.array([nad(errors, normaliser, b) if fit else np.nan for b, fit in zip(blocks, fits, strict=True)])


def longest_run(present: NDArray[np.bool_]) -> slice:
    """Return the longest unbroken run of present frames (T,), the first of equals: what a figure of stability is over.

    A difference across a gap would mix how the tracker moves with how it starts.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]])))  # starts and ends in turn
    if not len(edges):
        return slice(0, 0)
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return slice(int(starts[longest]), int(ends[longest]))


def second_difference(positions: Array, normaliser: float) -> float:
    """RMS of x_(t+1) - 2 x_t + x_(t-1) over time and landmarks, as a share of the normaliser. positions (T, N, 2)."""
    return float(np.sqrt(np.mean(np.sum(np.diff(positions, 2, axis=0) ** 2, -1)))) / normaliser
