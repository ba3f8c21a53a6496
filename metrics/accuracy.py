"""How near predictions are to labels. Always say which normaliser a figure used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def interocular(labels: Array, outer_eyes: tuple[int, int]) -> Array:
    """Distance of the outer eye corners. labels (..., N, 2) -> (...)."""
    right, left = outer_eyes
    return np.linalg.norm(labels[..., left, :] - labels[..., right, :], axis=-1)


def face_size(labels: Array) -> Array:
    """Square root of the area of the labels' box. labels (..., N, 2) -> (...)."""
    return np.sqrt(np.prod(labels.max(-2) - labels.min(-2), axis=-1))


def nme(predictions: Array, labels: Array, normaliser: Array) -> Array:
    """Mean distance over landmarks, as a share of the normaliser. (..., N, 2), (..., N, 2), (...) -> (...)."""
    return np.linalg.norm(predictions - labels, axis=-1).mean(-1) / normaliser


def failure_rate(errors: Array, threshold: float = 0.10) -> float:
    """Share of errors above the threshold (FR@10 for 0.10)."""
    return float(np.mean(errors > threshold))


def area_under_curve(errors: Array, threshold: float = 0.10) -> float:
    """Area under the cumulative error curve up to the threshold, over the threshold (AUC@10 for 0.10).

    The exact integral of the step function: each error e contributes max(0, 1 - e / threshold).
    """
    return float(np.mean(np.clip(1 - errors / threshold, 0, None)))
