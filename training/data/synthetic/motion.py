"""How a face moves: exact motions whose every position is known, as functions of time.

A motion is a function from seconds to a `FaceState`. Motions in the picture (`shift`) are in pixels of the frame and
move the projected face rigidly: what a tracker should return for a sine of 2 px is that sine, to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from qlot.training.data.clip import Array

Pair = tuple[float, float]


def _no_expression() -> Array:
    return np.zeros(53)


@dataclass(frozen=True, eq=False)
class FaceState:
    """Where the face is at a time, and what it does."""

    time: float = 0.0  # seconds
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)  # degrees: yaw, pitch, roll, see `rotation_matrix`
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)  # cm: right, up, to the camera
    shift: Pair = (0.0, 0.0)  # pixels of the frame: right, down; after projection
    expression: Array = field(default_factory=_no_expression)  # (53,) weights


class Motion(Protocol):
    """A face's state as a function of time."""

    def __call__(self, seconds: float) -> FaceState:
        """Return the state at a time, which may be any."""
        ...


def rotation_matrix(rotation: tuple[float, float, float]) -> Array:
    """Return the (3, 3) rotation Ry(yaw) Rx(pitch) Rz(roll) for degrees.

    In the picture a positive yaw turns the nose to the right, a positive pitch turns it down, and a positive roll tips
    the head's top to the left.
    """
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(math.radians(a)), math.sin(math.radians(a))) for a in rotation)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(yaw @ pitch @ roll)


@dataclass(frozen=True, eq=False)
class Still:
    """One state for ever."""

    state: FaceState = field(default_factory=FaceState)

    def __call__(self, seconds: float) -> FaceState:
        """Return the state, with the time filled in."""
        return _moved(self.state, seconds)


@dataclass(frozen=True, eq=False)
class Ramp:
    """Constant velocity in the picture from `start` on."""

    velocity: Pair  # pixels per second
    start: float = 0.0  # seconds
    state: FaceState = field(default_factory=FaceState)

    def __call__(self, seconds: float) -> FaceState:
        """Return the state, shifted by velocity times the time since the start."""
        passed = max(0.0, seconds - self.start)
        return _moved(self.state, seconds, (self.velocity[0] * passed, self.velocity[1] * passed))


@dataclass(frozen=True, eq=False)
class Sine:
    """shift = amplitude * sin(2 pi frequency t + phase)."""

    frequency: float  # Hz
    amplitude: Pair  # pixels
    phase: float = 0.0  # radians
    state: FaceState = field(default_factory=FaceState)

    def __call__(self, seconds: float) -> FaceState:
        """Return the state, shifted by the sine."""
        value = math.sin(2 * math.pi * self.frequency * seconds + self.phase)
        return _moved(self.state, seconds, (self.amplitude[0] * value, self.amplitude[1] * value))


@dataclass(frozen=True, eq=False)
class Saccade:
    """A fast step in the picture: minimum-jerk from rest to rest within `duration`."""

    amplitude: Pair  # pixels
    start: float  # seconds
    duration: float = 0.04  # seconds
    state: FaceState = field(default_factory=FaceState)

    def __call__(self, seconds: float) -> FaceState:
        """Return the state, shifted by as much of the step as is done."""
        done = minimum_jerk((seconds - self.start) / self.duration)
        return _moved(self.state, seconds, (self.amplitude[0] * done, self.amplitude[1] * done))


@dataclass(frozen=True, eq=False)
class Blink:
    """Both lids (or other weights) go to `depth` and back once; everything else stands still."""

    which: tuple[int, ...]  # indices of the expression weights, say of eyeBlink_L and eyeBlink_R
    start: float  # seconds
    closing: float = 0.08  # seconds
    closed: float = 0.03
    opening: float = 0.14
    depth: float = 1.0
    state: FaceState = field(default_factory=FaceState)

    def __call__(self, seconds: float) -> FaceState:
        """Return the state, with the lids where they are at that time."""
        weights = self.state.expression.copy()
        lid = self.depth * blink_curve(seconds - self.start, self.closing, self.closed, self.opening)
        weights[list(self.which)] = np.maximum(weights[list(self.which)], lid)
        return _moved(self.state, seconds, expression=weights)


def blink_curve(since: float, closing: float, closed: float, opening: float) -> float:
    """Return how far a lid is closed, 0 to 1, seconds after a blink's start; lids close faster than they open."""
    if since < closing + closed:
        return minimum_jerk(since / closing)
    return 1.0 - minimum_jerk((since - closing - closed) / opening)


def minimum_jerk(share: float) -> float:
    """Return 10 s^3 - 15 s^4 + 6 s^5 for s clamped to [0, 1] (Flash and Hogan, 1985): from rest to rest."""
    s = min(max(share, 0.0), 1.0)
    return s * s * s * (10.0 + s * (6.0 * s - 15.0))


def _moved(state: FaceState, seconds: float, by: Pair = (0.0, 0.0), expression: Array | None = None) -> FaceState:
    shift = (state.shift[0] + by[0], state.shift[1] + by[1])
    weights = state.expression if expression is None else expression
    return FaceState(seconds, state.rotation, state.translation, shift, weights)
