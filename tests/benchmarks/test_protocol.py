from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qlot.benchmarks.comparison import COUNTS, NAIVE, Comparison
from qlot.benchmarks.protocol import Protocol, fit_line, measure


def test_every_round_visits_every_variant_in_turn() -> None:
    seen: list[str] = []
    variants = {name: lambda name=name: seen.append(name) for name in "abc"}
    times = measure(variants, Protocol(warm_up=1, rounds=2, calls=2))
    assert "".join(seen) == "abc" + "aabbcc" + "ccbbaa"
    assert {name: t.shape for name, t in times.items()} == dict.fromkeys("abc", (2,))
    assert all((t >= 0).all() for t in times.values())


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 100)), min_size=1, max_size=5),
)
def test_a_line_is_found_in_each_round(lines: list[tuple[float, float]]) -> None:
    a, b = np.array(lines).T
    found_a, found_b = fit_line(COUNTS, [a + b * k for k in COUNTS])
    np.testing.assert_allclose(found_a, a, atol=1e-9)
    np.testing.assert_allclose(found_b, b, atol=1e-9)


def comparison(a: float, b: float) -> Comparison:
    """The single graph costs 10 + 10 K, a staged bundle a + b K, each in three rounds on a host of changing speed."""
    speed = np.array([1.0, 2.0, 1.5])
    times = {(NAIVE, k): speed * (10 + 10 * k) for k in COUNTS} | {("windowed", k): speed * (a + b * k) for k in COUNTS}
    return Comparison("engine", 224, times)


def test_bounds_are_those_of_the_ratios_within_a_round() -> None:
    found = [bound.found for bound in comparison(a=4, b=4).bounds("windowed")]
    np.testing.assert_allclose(found, [[8 / 20] * 3, [4 / 20] * 3, [4 / 10] * 3])


def test_bounds_can_be_missed() -> None:
    assert [b.met for b in comparison(a=10, b=3.9).bounds("windowed")] == [True, True, True]
    assert [b.met for b in comparison(a=10, b=4.1).bounds("windowed")] == [True, False, True]
    assert [b.met for b in comparison(a=10, b=9.1).bounds("windowed")] == [False, False, False]
