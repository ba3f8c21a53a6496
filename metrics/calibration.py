"""Whether predicted covariances are as large as the errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mahalanobis_squared(errors: Array, covariances: Array) -> Array:
    """Return e^T S^-1 e. (..., 2), (..., 2, 2) -> (...)."""
    return np.einsum("...i,...i->...", errors, np.linalg.solve(covariances, errors[..., None])[..., 0])


def coverage(errors: Array, covariances: Array, level: float) -> float:
    """Share of errors inside the ellipse that should hold `level` of them.

    For two dimensions the chi-squared quantile has the closed form -2 ln(1 - level).
    """
    return float(np.mean(mahalanobis_squared(errors, covariances) <= -2 * np.log1p(-level)))
