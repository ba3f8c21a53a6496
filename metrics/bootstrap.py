"""How far a mean would stray with other people: intervals by the cluster bootstrap.

Pictures of one person are alike, so people are drawn, not pictures: resampling whole clusters with replacement keeps
what is correlated together (Davison, Hinkley, "Bootstrap Methods and their Application", 1997, 3.8). The interval is
the percentile interval (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, 13.3). With few clusters it is too
narrow; below about ten it says little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean_interval(
    values: Array, clusters: Sequence[str], *, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of the mean of values (n,), resampled by cluster.

    NME, FR@10 and AUC@10 are means of one number per picture, so one function serves them all.

    Args:
        values: one finite number per picture.
        clusters: whose picture it is, n names.
        level: share of the resampled means inside the interval.
        samples: how many times the clusters are drawn.
        seed: of the draws; the same arguments give the same interval.

    Raises:
        ValueError: no values, values that are not finite, or not one cluster for each.
    """
    if values.ndim != 1 or not len(values) or len(values) != len(clusters) or not np.isfinite(values).all():
        raise ValueError(f"{values.shape} values with {len(clusters)} clusters: one finite value and name per picture")
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    totals, counts = np.bincount(member, values), np.bincount(member)
    drawn = np.random.default_rng(seed).integers(0, len(counts), (samples, len(counts)))
    means = totals[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
