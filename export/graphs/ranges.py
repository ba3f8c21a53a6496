"""Ranges of activations that leave out the rarest values, exact over any number of calls.

Outliers of a few pixels widen the range of a whole map, and all its other values get coarser for it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# Share of the values, in percent, that a range holds; as many are cut off below as above. For `final`, against plain
# extremes, it halves the largest error of frames' results on TFLite, and on ONNX the 99th percentile of the errors.
PERCENTILE = 99.999


class Tails:
    """The lowest and highest values of each tensor, as many of each as lie outside its range and one more.

    Args:
        calls: how many arrays of each tensor will come, all of one size.
        percentile: share that a range holds, in percent; 100 gives the extremes.
    """

    def __init__(self, calls: int, percentile: float = PERCENTILE) -> None:
        self._calls, self._outside = calls, (1 - percentile / 100) / 2
        self._broken: set[str] = set()
        self._tails: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def add(self, name: str, values: NDArray[np.float32]) -> None:
        """Take in one call's array, of any shape."""
        values = np.asarray(values, np.float32).ravel()
        if not np.isfinite(values).all():
            self._broken.add(name)
        keep = int(self._calls * values.size * self._outside) + 1
        low, high = self._tails.get(name, (values[:0], values[:0]))
        low = _lowest(np.append(low, _lowest(values, keep)), keep)
        high = -_lowest(np.append(-high, _lowest(-values, keep)), keep)
        self._tails[name] = low, high

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the range of each tensor; not a number where some value was not finite."""
        found = {name: (float(low.max()), float(high.min())) for name, (low, high) in self._tails.items()}
        return found | dict.fromkeys(self._broken, (math.nan, math.nan))


def _lowest(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    return values if len(values) <= count else np.partition(values, count - 1)[:count]
