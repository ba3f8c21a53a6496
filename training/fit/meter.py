"""What a run counts while it goes: means of its losses, seconds, frames per second."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch import Tensor


class Means:
    """Means of the losses since the last `take`."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._last: dict[str, float] = {}

    def add(self, losses: dict[str, Tensor]) -> None:
        """Take in the losses of a micro-batch."""
        self._last = {k: float(v.detach()) for k, v in losses.items()}
        for name, value in self._last.items():
            self._values.setdefault(name, []).append(value)

    def last(self, name: str) -> float:
        """Return the latest value of a loss."""
        return self._last.get(name, math.nan)

    def take(self) -> dict[str, float]:
        """Return the mean of each loss over the micro-batches that had it, and begin anew."""
        means = {k: float(np.mean(v)) for k, v in self._values.items()}
        self._values.clear()
        return means


class Clock:
    """Seconds of the run, validation included, and frames per second of the last steps."""

    def __init__(self, before: float) -> None:
        self._start, self._rate, self._mark = time.monotonic() - before, 0.0, time.monotonic()

    @property
    def total(self) -> float:
        """Seconds, those before a resumption included."""
        return time.monotonic() - self._start

    def count(self, frames: int) -> None:
        """Take in the frames of a micro-batch."""
        now = time.monotonic()
        rate = frames / max(now - self._mark, 1e-9)
        self._mark, self._rate = now, 0.98 * self._rate + 0.02 * rate if self._rate else rate

    def rate(self) -> float:
        """Return frames per second, a moving average."""
        return self._rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what happens inside out of the rate."""
        yield
        self._mark = time.monotonic()
