"""Errors in three figures, and what they are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Level = Literal["a", "b", "c"]  # each stage alone, the free run, the task


@dataclass(frozen=True)
class Spread:
    """Median, 99th percentile and largest of a set of errors, in their unit."""

    median: float
    p99: float
    max: float

    @classmethod
    def of(cls, errors: NDArray[np.float64]) -> Spread:
        """Summarise errors of any shape; NaN marks what was not measured, infinity what is not a number."""
        known = errors[~np.isnan(errors)]
        return cls(float(np.median(known)), float(np.quantile(known, 0.99, method="higher")), float(known.max()))


@dataclass(frozen=True)
class Check:
    """One bounded figure.

    Attributes:
        level: of the parity report.
        subject: what was measured, such as "refiner alone".
        figure: which figure of it, such as "largest error".
        value: what was found.
        limit: what is allowed; of a change, in both directions.
        unit: of both.
        bound: which side of the limit passes.
    """

    level: Level
    subject: str
    figure: str
    value: float
    limit: float
    unit: str
    bound: Literal["at most", "at least"] = "at most"

    @property
    def passed(self) -> bool:
        """Whether the figure keeps to its limit; what is not a number does not."""
        return self.value >= self.limit if self.bound == "at least" else abs(self.value) <= self.limit

    @property
    def text(self) -> str:
        """The finding as a clause."""
        found = f"{self.value:.3g} {self.unit}".strip()
        return f"{self.subject}: {self.figure} {found}, {self.bound} {self.limit:g} allowed"
