from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qlot.benchmarks.protocol import TimingProtocol, fit_line, measure
from qlot.benchmarks.studies.comparison import COUNTS, NAIVE, Comparison


def test_every_round_visits_every_variant_in_turn() -> None:
    seen: list[str] = []
    variants = {name: lambda name=name: seen.append(name) for name in "abc"}
    times = measure(variants, TimingProtocol(warm_up=1, rounds=2, calls=2))
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


def comparison(**bundles: tuple[float, float]) -> Comparison:
    """The single graph costs 10 + 10 K, each bundle a + b K, in three rounds on a host of changing speed."""
    speed, lines = np.array([1.0, 2.0, 1.5]), {NAIVE: (10.0, 10.0), **bundles}
    times = {(name, k): speed * (a + b * k) for name, (a, b) in lines.items() for k in COUNTS}
    return Comparison(("engine",), 224, times, {})


def test_bounds_are_those_of_the_ratios_within_a_round() -> None:
    found = [bound.found for bound in comparison(onnx=(4, 4)).bounds("onnx")]
    np.testing.assert_allclose(found, [[8 / 20] * 3, [4 / 20] * 3, [4 / 10] * 3])


def test_bounds_can_be_missed() -> None:
    assert [b.met for b in comparison(onnx=(10, 3.9)).bounds("onnx")] == [True, True, True]
    assert [b.met for b in comparison(onnx=(10, 4.1)).bounds("onnx")] == [True, False, True]
    assert [b.met for b in comparison(onnx=(10, 9.1)).bounds("onnx")] == [False, False, False]


def test_tflite_is_held_against_onnx_where_both_were_timed() -> None:
    both = comparison(onnx=(4, 3), tflite=(4, 3.7))
    assert both.staged == ("onnx", "tflite")
    assert [b.met for b in both.bounds("tflite")] == [True, True, True, False]
    np.testing.assert_allclose(both.bounds("tflite")[-1].found, 3.7 / 3)
    assert len(comparison(tflite=(4, 3.7)).bounds("tflite")) == 3
