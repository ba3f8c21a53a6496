"""Closed forms: what a pure delay, a first-order low pass and a second-order step response do to known motions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qlot.metrics import fit_sine, overshoot, ramp_lag, sine_gain, sine_lag

TIMES = np.arange(150) / 30.0


def wave(hertz: float, times: np.ndarray = TIMES, delay: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * (times - delay))


@given(
    hertz=st.floats(0.3, 6),
    amplitude=st.floats(0.1, 50),
    phase=st.floats(-3, 3),
    offset=st.floats(-300, 300),
)
def test_a_sine_is_found_over_any_part_of_its_period(
    hertz: float, amplitude: float, phase: float, offset: float
) -> None:
    found = fit_sine(offset + amplitude * np.sin(2 * np.pi * hertz * TIMES + phase), TIMES, hertz)
    assert found.offset == pytest.approx(offset, abs=1e-8)
    assert found.amplitude == pytest.approx(amplitude)
    assert found.phase == pytest.approx(phase, abs=1e-8)


def test_a_sine_at_half_the_frame_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="do not determine"):
        fit_sine(wave(15), TIMES, 15)
    with pytest.raises(ValueError, match="2 samples"):
        fit_sine(TIMES[:2], TIMES[:2], 1)


@given(hertz=st.floats(0.3, 4), share=st.floats(-0.49, 0.49), gain=st.floats(0.1, 2))
def test_a_delay_is_its_lag_up_to_half_a_period(hertz: float, share: float, gain: float) -> None:
    delay = share / hertz
    response = 7 + gain * wave(hertz, delay=delay)
    assert sine_lag(response, wave(hertz), TIMES, hertz) == pytest.approx(1e3 * delay, abs=1e-6)
    assert sine_gain(response, wave(hertz), TIMES, hertz) == pytest.approx(gain)


@pytest.mark.parametrize("hertz", [0.3, 1.0, 4.0])
def test_a_first_order_low_pass_lags_by_the_arctangent(hertz: float) -> None:
    """y += a (x - y): H = a / (1 - (1 - a) e^-iw), its phase and size in closed form."""
    a, times = 0.3, np.arange(3000) / 30.0
    y, state = np.zeros_like(times), 0.0
    for i, x in enumerate(wave(hertz, times)):
        state += a * (x - state)
        y[i] = state
    w = 2 * math.pi * hertz / 30
    transfer = a / (1 - (1 - a) * np.exp(-1j * w))
    late = times > 20  # the transient has died
    stimulus = wave(hertz, times)
    assert sine_lag(y[late], stimulus[late], times[late], hertz) == pytest.approx(
        -1e3 * np.angle(transfer) / (2 * np.pi * hertz), abs=1e-6
    )
    assert sine_gain(y[late], stimulus[late], times[late], hertz) == pytest.approx(abs(transfer))


@given(speed=st.floats(-200, 200), delay=st.floats(-0.5, 0.5))
def test_a_delayed_ramp_lags_by_the_delay_in_either_direction(speed: float, delay: float) -> None:
    assume(abs(speed) > 1e-3)
    assert ramp_lag(speed * (TIMES - delay), speed * TIMES, TIMES) == pytest.approx(1e3 * delay, abs=1e-6)


def test_a_ramp_at_rest_is_refused() -> None:
    with pytest.raises(ValueError, match="at rest"):
        ramp_lag(TIMES, np.zeros_like(TIMES), TIMES)


@pytest.mark.parametrize("damping", [0.2, 0.5, 0.8])
def test_overshoot_of_a_second_order_step_is_the_textbook_one(damping: float) -> None:
    times = np.linspace(-1, 8, 20_000)
    root, after = math.sqrt(1 - damping**2), np.clip(times, 0, None)
    turn = 5 * root * after
    step = 1 - np.exp(-damping * 5 * after) * (np.cos(turn) + damping / root * np.sin(turn))
    wanted = 100 * math.exp(-math.pi * damping / root)
    for scale in (3.0, -3.0):
        assert overshoot(10 + scale * step, times, 0, 7) == pytest.approx(wanted, rel=0.02)


def test_a_creeping_step_does_not_overshoot() -> None:
    times = np.arange(-30, 300) / 30.0
    assert overshoot(np.where(times < 0, 0, 1 - np.exp(-3 * times)), times, 0, 8) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="no samples"):
        overshoot(times, times, -5, 8)
    with pytest.raises(ValueError, match="no step"):
        overshoot(np.ones_like(times), times, 0, 8)
