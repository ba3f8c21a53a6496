"""Ranges that leave out the rarest values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.export.graphs.ranges import Tails


@given(st.integers(1, 6), st.integers(1, 60), st.sampled_from([100.0, 99.0, 90.0, 50.0]), st.integers(0, 99))
def test_ranges_are_order_statistics_of_all_calls(calls: int, size: int, percentile: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(calls, size)).astype(np.float32).round(1)
    tails = Tails(calls, percentile)
    for call in values:
        tails.add("x", call)
    outside = int(values.size * (1 - percentile / 100) / 2)
    ordered = np.sort(values, axis=None)
    assert tails.ranges()["x"] == (ordered[outside], ordered[-1 - outside])


def test_an_outlier_is_left_out_of_many_and_kept_among_few() -> None:
    for size, high in ((100, 1000.0), (1_000_000, 1.0)):
        values = np.linspace(-1, 1, size, dtype=np.float32)
        values[size // 2] = 1000
        tails = Tails(1)
        tails.add("x", values.reshape(2, -1))
        assert tails.ranges()["x"][1] == pytest.approx(high, abs=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_left_out(bad: float) -> None:
    tails = Tails(1, 50)
    tails.add("x", np.array([0, bad, *range(100)], np.float32))
    tails.add("y", np.zeros(3, np.float32))
    assert np.isnan(tails.ranges()["x"]).all() and tails.ranges()["y"] == (0, 0)
