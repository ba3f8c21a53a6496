"""Conclusions: lines and ratios are found, and intervals hold what they say, on a machine whose speed drifts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.benchmarks.protocol.statistics import Interval, fit_line, medians, ratio, slope_ratio, summary

ROUNDS = 20


def rounds(rng: np.random.Generator, drift: np.ndarray, middle: float) -> np.ndarray:
    """Return medians of rounds (R,) on a machine whose speed goes by `drift` (R,), with noise of their own."""
    return middle * drift * rng.lognormal(0, 0.01, len(drift))


def drift(rng: np.random.Generator) -> np.ndarray:
    """Return the speed of a busy machine, round after round: a walk of up to a third, with hiccups."""
    return np.exp(np.cumsum(rng.normal(0, 0.06, ROUNDS))) * np.where(rng.random(ROUNDS) < 0.1, 1.5, 1.0)


@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=60))
def test_summaries(values: list[float]) -> None:
    found = summary(values)
    assert (found.count, found.least) == (len(values), min(values))
    np.testing.assert_allclose([found.p50, found.p90, found.p99], np.quantile(values, [0.5, 0.9, 0.99]))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.mad == pytest.approx(np.median(np.abs(np.array(values) - np.median(values))))


def test_nothing_has_no_summary() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summary([])


def test_medians_of_rounds() -> None:
    assert medians([[1.0, 2.0, 9.0], [4.0]]).tolist() == [2.0, 4.0]


@given(st.floats(0, 100), st.floats(0.01, 100))
def test_a_line_is_found_exactly(a: float, b: float) -> None:
    counts = (1, 2, 4, 8)
    line = fit_line(counts, [np.full(5, a + b * k) for k in counts])
    assert line.a.value == pytest.approx(a, abs=1e-6)
    assert line.b.value == pytest.approx(b, rel=1e-6)
    assert line.residual < 1e-6
    assert line.b.high - line.b.low < 1e-6 * max(b, 1)


def test_a_line_says_when_there_is_none() -> None:
    bent = fit_line((1, 2, 4), [np.full(5, y) for y in (1.0, 8.0, 2.0)])
    assert bent.residual > 0.5
    with pytest.raises(ValueError, match="two different points"):
        fit_line((2, 2), [np.ones(3), np.ones(3)])


def test_intervals_of_slopes_hold_the_slope() -> None:
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        line = fit_line((1, 2, 4, 8), [rounds(rng, np.ones(ROUNDS), 2 + 3 * k) for k in (1, 2, 4, 8)])
        held += 3.0 in line.b
    assert held >= 185  # 99 % are promised; a bootstrap of 20 rounds is a little short


def test_a_slower_build_is_found_and_an_identical_one_is_not() -> None:
    found = {1.0: 0, 1.1: 0}
    for slower in found:
        for seed in range(200):
            rng = np.random.default_rng(seed)
            speed = drift(rng)
            found[slower] += 1.0 not in ratio(rounds(rng, speed, slower), rounds(rng, speed, 1.0), paired=True)
    assert found[1.1] == 200
    assert found[1.0] <= 10


def test_pairs_take_out_what_both_have_met() -> None:
    rng = np.random.default_rng(5)
    speed = drift(rng)
    one, other = rounds(rng, speed, 1.1), rounds(rng, speed, 1.0)
    paired, apart = ratio(one, other, paired=True), ratio(one, other, paired=False)
    assert paired.high - paired.low < 0.3 * (apart.high - apart.low)
    assert 1.1 in apart and 1.1 in paired


def test_rounds_that_are_not_the_same_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="not the same rounds"):
        ratio(np.ones(3), np.ones(4), paired=True)


def test_ratios_of_slopes() -> None:
    rng = np.random.default_rng(0)
    speed, counts = drift(rng), (1, 2, 4, 8)
    above = [rounds(rng, speed, 1 + 3 * k) for k in counts]
    below = [rounds(rng, speed, 9 + 2 * k) for k in counts]
    found = slope_ratio(counts, above, below)
    assert found.low < 1.5 < found.high
    assert found.low > 1.2 and found.high < 1.9


def test_the_same_samples_give_the_same_interval() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.random(9) + 1, rng.random(9) + 1
    assert ratio(one, other, paired=True) == ratio(one, other, paired=True)


def test_estimates_hold_values() -> None:
    assert 1.0 in Interval(1.1, 0.9, 1.2) and 1.0 not in Interval(1.1, 1.05, 1.2)
