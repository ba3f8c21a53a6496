"""How near predictions are to labels. Always say which normaliser a figure used.

`valid` (..., N) marks the landmarks that are labelled; positions of the others may be anything, NaN included. Without
it all count. Where nothing is valid the result is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def interocular(labels: Array, outer_eyes: tuple[int, int], valid: Mask | None = None) -> Array:
    """Distance of the outer eye corners. labels (..., N, 2) -> (...)."""
    right, left = outer_eyes
    distance = np.linalg.norm(labels[..., left, :] - labels[..., right, :], axis=-1)
    return distance if valid is None else np.where(valid[..., left] & valid[..., right], distance, np.nan)


def face_size(labels: Array, valid: Mask | None = None) -> Array:
    """Square root of the area of the labels' box. labels (..., N, 2) -> (...)."""
    if valid is None:
        return np.sqrt(np.prod(labels.max(-2) - labels.min(-2), axis=-1))
    low = np.where(valid[..., None], labels, np.inf).min(-2)
    high = np.where(valid[..., None], labels, -np.inf).max(-2)
    some = valid.any(-1, keepdims=True)
    return np.sqrt(np.prod(np.subtract(high, low, out=np.full_like(low, np.nan), where=some), axis=-1))


def nme(predictions: Array, labels: Array, normaliser: Array, valid: Mask | None = None) -> Array:
    """Mean distance over landmarks, as a share of the normaliser. (..., N, 2), (..., N, 2), (...) -> (...)."""
    distance = np.linalg.norm(predictions - labels, axis=-1)
    if valid is None:
        return distance.mean(-1) / normaliser
    total, count = np.where(valid, distance, 0).sum(-1), valid.sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0) / normaliser


def failure_rate(errors: Array, threshold: float = 0.10) -> float:
    """Share of errors above the threshold (FR@10 for 0.10)."""
    return float(np.mean(failures(errors, threshold)))


def failures(errors: Array, threshold: float = 0.10) -> Array:
    """Return 1 for each error above the threshold and 0 for the others; their mean is the failure rate."""
    return (errors > threshold).astype(np.float64)


def area_under_curve(errors: Array, threshold: float = 0.10) -> float:
    """Area under the cumulative error curve up to the threshold, over the threshold (AUC@10 for 0.10).

    The exact integral of the step function: the mean of the `areas`.
    """
    return float(np.mean(areas(errors, threshold)))


def areas(errors: Array, threshold: float = 0.10) -> Array:
    """Return what each error e adds to the area under the cumulative curve: max(0, 1 - e / threshold)."""
    return np.clip(1 - errors / threshold, 0, None)
