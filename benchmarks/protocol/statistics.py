"""What is concluded from samples: summaries, lines, ratios; intervals by a bootstrap over rounds.

A round visits every setting once, so what slows the machine for seconds slows all of a round. Its samples belong
together: rounds are drawn, not samples, and where two things were measured in the same rounds, the same rounds of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.benchmarks.protocol.constants import protocol

Array = NDArray[np.float64]
Rounds = Sequence[Sequence[float]]  # samples of each round
SEED = 0  # of the bootstrap: the same file gives the same interval


@dataclass(frozen=True)
class SampleSummary:
    """Of all samples. Quantiles lie between neighbours linearly (type 7 of Hyndman and Fan, 1996)."""

    count: int
    least: float
    p50: float
    p90: float
    p99: float
    mean: float
    mad: float  # median distance from the median


@dataclass(frozen=True)
class Interval:
    """A value and its interval."""

    value: float
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Line:
    """y = a + b x by least squares.

    Attributes:
        a: at x = 0.
        b: slope.
        residual: largest distance of a point from the line, over the point's y.
    """

    a: Interval
    b: Interval
    residual: float


def summary(samples: Sequence[float]) -> SampleSummary:
    """Summarise samples.

    Raises:
        ValueError: there are none.
    """
    if not len(samples):
        raise ValueError("no samples to summarise")
    values = np.asarray(samples, np.float64)
    p50, p90, p99 = np.quantile(values, [0.5, 0.9, 0.99])
    mad = float(np.median(np.abs(values - p50)))
    return SampleSummary(
        len(values), float(values.min()), float(p50), float(p90), float(p99), float(values.mean()), mad
    )


def medians(rounds: Rounds) -> Array:
    """Return the median of each round (R,)."""
    return np.array([np.median(samples) for samples in rounds], np.float64)


def fit_line(x: Sequence[float], y: Sequence[Array]) -> Line:
    """Fit a line through the medians over rounds.

    Args:
        x: of each point, at least two different ones.
        y: (R,) of each point: its medians in the same R rounds.

    Raises:
        ValueError: fewer than two different x, or rounds of different number.
    """
    if len(set(x)) < 2:
        raise ValueError(f"a line needs two different points, got x = {list(x)}")
    by_round = np.stack(y)  # (points, R)
    middle = np.median(by_round, 1)
    b, a = np.polyfit(x, middle, 1)
    drawn = _draws(by_round.shape[1])
    resampled = np.median(by_round[:, drawn], -1)  # (points, draws)
    slopes, starts = np.polyfit(x, resampled, 1)
    off = np.abs(middle - (a + b * np.asarray(x, np.float64))) / np.abs(middle)
    return Line(_estimate(float(a), starts), _estimate(float(b), slopes), float(off.max()))


def ratio(numerator: Array, denominator: Array, paired: bool) -> Interval:
    """Return by how much a median over rounds exceeds another.

    Args:
        numerator: (R,) medians of rounds.
        denominator: (R,) or another number of them.
        paired: both come from the same rounds of one run: the ratio is taken within a round, and rounds are drawn for
            both alike. Else both are drawn apart, and what differed between the runs is in the interval's place.

    Raises:
        ValueError: paired, and of different number.
    """
    if paired:
        if len(numerator) != len(denominator):
            raise ValueError(f"{len(numerator)} and {len(denominator)} rounds are not the same rounds")
        within = numerator / denominator
        return _estimate(float(np.median(within)), np.median(within[_draws(len(within))], 1))
    above, below = (np.median(x[_draws(len(x), i)], 1) for i, x in enumerate((numerator, denominator)))
    return _estimate(float(np.median(numerator) / np.median(denominator)), above / below)


def slope_ratio(x: Sequence[float], above: Sequence[Array], below: Sequence[Array]) -> Interval:
    """Return the ratio of two lines' slopes, both measured at the same x in the same rounds.

    Args:
        x: of each point.
        above: (R,) of each point.
        below: likewise.
    """

    def slopes(y: Sequence[Array]) -> tuple[float, Array]:
        by_round = np.stack(y)
        drawn = np.median(by_round[:, _draws(by_round.shape[1])], -1)
        return float(np.polyfit(x, np.median(by_round, 1), 1)[0]), np.polyfit(x, drawn, 1)[0]

    (a, many_a), (b, many_b) = slopes(above), slopes(below)
    return _estimate(a / b, many_a / many_b)


def _draws(rounds: int, stream: int = 0) -> NDArray[np.int64]:
    rng = np.random.default_rng([SEED, stream])
    return rng.integers(0, rounds, (protocol().statistics.resamples, rounds))


def _estimate(value: float, resampled: Array) -> Interval:
    rest = (1 - protocol().statistics.interval) / 2
    low, high = np.quantile(resampled, [rest, 1 - rest])
    return Interval(value, min(value, float(low)), max(value, float(high)))
