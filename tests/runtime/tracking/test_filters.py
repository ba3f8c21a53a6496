"""The comparison filters against closed forms, at any frame rate and at irregular ones."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlot.runtime.errors import FrameError
from qlot.runtime.tracking.filters import LandmarkFilter, make_filter

NAMES = ["one-euro", "kalman"]


def run(smoother: LandmarkFilter, times: np.ndarray, path: np.ndarray) -> np.ndarray:
    """path (T,) moves two landmarks, the second the other way."""
    return np.stack([smoother.update([[p, 5.0], [-p, 2 * p]], t) for t, p in zip(times, path, strict=True)])


def test_one_euro_step_response_is_a_product_of_its_weights() -> None:
    """With beta = 0 the distance left after a step is the product of 1 - 1/(1 + tau/dt), also at irregular times."""
    tau = 1 / (2 * math.pi * 2.0)
    times = np.array([0.0, 0.01, 0.04, 0.05, 0.12, 0.2])
    left = run(make_filter("one-euro", min_cutoff=2.0, beta=0.0), times, np.where(times > 0, 0.0, 10.0))[:, 0, 0]
    expected = [10.0]
    for a, b in pairwise(times):
        expected.append(expected[-1] * (1 - 1 / (1 + tau / (b - a))))
    np.testing.assert_allclose(left, expected, rtol=1e-5)


def test_one_euro_follows_speed() -> None:
    """On a ramp of v px/s the speed settles at v and the lag at v tau(min_cutoff + beta v), for small dt."""
    rate, v = 1000, 200.0
    times = np.arange(4 * rate) / rate
    for beta in (0.0, 0.05):
        out = run(make_filter("one-euro", min_cutoff=1.0, beta=beta), times, v * times)
        tau = 1 / (2 * math.pi * (1.0 + beta * v))
        assert v * times[-1] - out[-1, 0, 0] == pytest.approx(v * tau, rel=0.02)


def test_kalman_first_steps_by_hand() -> None:
    """One coordinate, written out: x0 = z0, P0 = diag(r, s); predict over dt; update with gain P/(P + r)."""
    q, r, s, dt, z = 50.0, 4.0, 900.0, 0.1, 10.0
    smoother = make_filter("kalman", acceleration=q, measurement_sigma=2.0, initial_speed=30.0)
    smoother.update([[0.0, 0.0]], 1.0)
    out = smoother.update([[z, 0.0]], 1.0 + dt)
    predicted = r + dt * dt * s + q * dt**3 / 3
    assert out[0, 0] == pytest.approx(z * predicted / (predicted + r), rel=1e-5) and out[0, 1] == 0


def test_kalman_gain_settles_at_the_riccati_fixed_point() -> None:
    """After a long run the weight of a measurement is the fixed point of the Riccati recursion of one coordinate."""
    dt, q, r = 1 / 30, 2e4, 1.0
    smoother = make_filter("kalman", acceleration=q, measurement_sigma=r)
    times = np.arange(300) * dt
    run(smoother, times, np.zeros(300))
    jump = smoother.update([[1.0, 5.0], [-1.0, 0.0]], times[-1] + dt)
    p = np.array([[1e3, 0], [0, 1e3]])
    f = np.array([[1, dt], [0, 1]])
    noise = q * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
    for _ in range(500):
        p = f @ p @ f.T + noise
        gain = p[:, :1] / (p[0, 0] + r)
        p = p - gain @ p[:1]
    assert jump[0, 0] == pytest.approx(gain[0, 0], rel=1e-4)


def test_kalman_has_no_lag_on_a_ramp_and_reduces_noise() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(300) / 30
    clean = run(make_filter("kalman"), times, 40 * times)
    np.testing.assert_allclose(clean[30:, 0, 0], 40 * times[30:], atol=0.05)
    noise = rng.normal(0, 1.0, 300)
    out = run(make_filter("kalman", acceleration=500.0), times, 40 * times + noise)[:, 0, 0] - 40 * times
    assert out[60:].std() < 0.6 * noise[60:].std()


def test_kalman_weighs_measurements_by_their_covariance() -> None:
    sure, unsure = np.tile(np.eye(2), (1, 1, 1)), np.tile(np.diag([400.0, 1.0]), (1, 1, 1))
    moved = []
    for covariances in (sure, unsure):
        smoother = make_filter("kalman")
        smoother.update([[0.0, 0.0]], 0.0, sure)
        moved.append(smoother.update([[10.0, 10.0]], 0.02, covariances)[0])
    assert moved[1][0] < 0.2 * moved[0][0] and moved[1][1] == pytest.approx(moved[0][1], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_frame_rates_agree(name: str) -> None:
    """The same smooth motion at 60 and 120 frames per second gives the same output at common times."""
    options = {"one-euro": {"min_cutoff": 0.5, "beta": 0.002}, "kalman": {"acceleration": 1e3}}[name]
    outs = []
    for rate in (60, 120):
        times = np.arange(2 * rate) / rate
        path = 20 * np.sin(3 * times)
        outs.append(run(make_filter(name, **options), times, path)[:: rate // 60, 0, 0])
    assert abs(outs[0] - outs[1])[10:].max() < 0.8  # px, of 40 px of travel
    assert abs(outs[0] - 20 * np.sin(3 * np.arange(120) / 60))[10:].max() > 0.01, "and it does filter"


@pytest.mark.parametrize("name", NAMES)
@given(st.lists(st.floats(1e-4, 2.0), min_size=1, max_size=20), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_outputs_stay_among_the_inputs_or_near(name: str, gaps: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum([0.0, *gaps])
    path = rng.uniform(0, 100, len(times))
    out = run(make_filter(name), times, path)
    assert np.isfinite(out).all()
    if name == "one-euro":  # a low pass is a weighted mean
        assert out[:, 0, 0].min() >= path.min() - 1e-4 and out[:, 0, 0].max() <= path.max() + 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_repeated_time_stamp_changes_nothing(name: str) -> None:
    one, other = make_filter(name), make_filter(name)
    for smoother in (one, other):
        smoother.update([[0.0, 0.0]], 0.0)
        smoother.update([[4.0, 1.0]], 0.1)
    before = one.update([[99.0, 99.0]], 0.1)
    np.testing.assert_array_equal(before, one.update([[5.0, 5.0]], 0.1))
    np.testing.assert_array_equal(one.update([[6.0, 2.0]], 0.2), other.update([[6.0, 2.0]], 0.2))


@pytest.mark.parametrize("name", NAMES)
def test_misuse_is_refused_and_harmless(name: str) -> None:
    smoother, twin = make_filter(name), make_filter(name)
    for each in (smoother, twin):
        each.update([[0.0, 0.0], [1.0, 1.0]], 1.0)
    for landmarks, time, covariances, words in (
        ([[0.0, np.nan], [1.0, 1.0]], 2.0, None, "finite"),
        ([0.0, 1.0], 2.0, None, "shape"),
        ([[0.0, 1.0]], 2.0, None, "reset"),
        ([[0.0, 0.0], [1.0, 1.0]], 0.5, None, "went back"),
        ([[0.0, 0.0], [1.0, 1.0]], math.nan, None, "finite seconds"),
        ([[0.0, 0.0], [1.0, 1.0]], 2.0, np.eye(2), "shape"),
    ):
        with pytest.raises(FrameError, match=words):
            smoother.update(landmarks, time, covariances)
    after = [each.update([[3.0, 0.0], [1.0, 2.0]], 1.1) for each in (smoother, twin)]
    np.testing.assert_array_equal(*after)
    smoother.reset()
    np.testing.assert_array_equal(smoother.update([[7.0, 8.0]], 0.0), [[7.0, 8.0]])


def test_make_filter_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="one-euro, kalman"):
        make_filter("median")
    with pytest.raises(ValueError, match="no option beta"):
        make_filter("kalman", beta=1.0)
    for options in ({"min_cutoff": 0.0}, {"d_cutoff": math.nan}, {"beta": -1.0}):
        with pytest.raises(ValueError, match="must be > 0"):
            make_filter("one-euro", **options)
    with pytest.raises(ValueError, match="must be > 0"):
        make_filter("kalman", acceleration=0.0)
