"""How far a tracker or a filter trails a known motion, and how much of the motion it keeps.

A response is what was tracked, a stimulus what really moved, both on the same time stamps. A positive lag is late. Time
spent computing is not in it: a response counts as given at the time stamp of its frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SineFit:
    """offset + amplitude * sin(2 pi f t + phase), with phase in radians in (-pi, pi] and amplitude >= 0."""

    offset: float
    amplitude: float
    phase: float


def fit_sine(signal: Array, times: Array, hertz: float) -> SineFit:
    """Fit a sine of known frequency by least squares, linear in offset, sine and cosine (IEEE Std 1057, 3 parameters).

    Args:
        signal: (T,) in any unit.
        times: (T,) seconds; need be neither even nor a whole number of periods.
        hertz: the frequency.

    Raises:
        ValueError: the samples do not determine a sine, as at half the frame rate.
    """
    turn = 2 * math.pi * hertz * times
    basis = np.stack([np.ones_like(turn), np.sin(turn), np.cos(turn)], -1)
    (offset, sine, cosine), _, rank, _ = np.linalg.lstsq(basis, signal, rcond=1e-6)
    if rank < 3:
        raise ValueError(f"{len(times)} samples do not determine a sine of {hertz:g} Hz")
    return SineFit(float(offset), math.hypot(sine, cosine), math.atan2(cosine, sine))


def sine_lag(response: Array, stimulus: Array, times: Array, hertz: float) -> float:
    """Return the phase by which a response trails a sine, as milliseconds in [-T/2, T/2) of the period T.

    Args:
        response: (T,).
        stimulus: (T,).
        times: (T,) seconds.
        hertz: the stimulus' frequency.

    Raises:
        ValueError: as `fit_sine`.
    """
    behind = fit_sine(stimulus, times, hertz).phase - fit_sine(response, times, hertz).phase
    wrapped = (behind + math.pi) % (2 * math.pi) - math.pi
    return 1e3 * wrapped / (2 * math.pi * hertz)


def sine_gain(response: Array, stimulus: Array, times: Array, hertz: float) -> float:
    """Return the amplitude of the response over that of the stimulus; arguments and errors as `sine_lag`."""
    return fit_sine(response, times, hertz).amplitude / fit_sine(stimulus, times, hertz).amplitude


def ramp_lag(response: Array, stimulus: Array, times: Array) -> float:
    """Return the mean distance by which a response trails a steady motion, in milliseconds of that motion.

    The speed is the stimulus' least-squares slope. Both signals should be free of a constant difference at rest, and
    the filter's transient should have passed.

    Args:
        response: (T,).
        stimulus: (T,) moving at a constant speed, in the same unit.
        times: (T,) seconds.

    Raises:
        ValueError: the stimulus does not move.
    """
    centred = times - times.mean()
    speed = float(centred @ stimulus / (centred @ centred))
    if speed == 0:
        raise ValueError("a stimulus at rest has no lag")
    return 1e3 * float(np.mean(stimulus - response)) / speed


def overshoot(response: Array, times: Array, onset: float, settled: float) -> float:
    """Return how far a response to a step shoots past its final level, in % of its own step; 0 if it does not.

    The levels are means: before `onset`, and from `settled` on.

    Args:
        response: (T,) to a step, in any unit.
        times: (T,) seconds.
        onset: when the step begins.
        settled: from when on the response counts as having arrived.

    Raises:
        ValueError: no samples before the onset or after settling, or the response takes no step.
    """
    before, after = times < onset, times >= settled
    if not before.any() or not after.any():
        raise ValueError(f"no samples before {onset:g} s or from {settled:g} s on")
    start, final = float(response[before].mean()), float(response[after].mean())
    if start == final:
        raise ValueError("the response takes no step")
    return 100 * max(0.0, float(((response[~before] - final) / (final - start)).max()))
