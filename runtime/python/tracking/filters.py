"""Filters for landmark sequences with time stamps in seconds, at any and at irregular frame rates.

The tracker's own rule is `steady`; those here are what it is compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlot.runtime.errors import FrameError
from qlot.runtime.geometry import FloatArray

Array = NDArray[np.float64]


class Memory(NamedTuple):
    """What a rule carries from frame to frame: the smoothed landmarks (N, 2) and whatever else it needs."""

    output: Array
    rest: tuple[Array, ...]


class Rule(Protocol):
    """The mathematics of a filter, without its memory."""

    def start(self, z: Array, noise: Array | None) -> Memory:
        """Begin with the first landmarks."""

    def advance(self, past: Memory, z: Array, elapsed: float, noise: Array | None) -> Memory:
        """Take in landmarks that came `elapsed` > 0 seconds after the last."""


@dataclass(frozen=True)
class OneEuro:
    """The 1€ filter: a low pass whose cutoff rises with speed. Casiez, Roussel, Vogel, CHI 2012.

    Every coordinate on its own; speed is the difference of raw positions over the elapsed time. The published filter
    weight 1/(1 + tau/dt) follows an exponential to first order in dt/tau, so rates agree when dt is well below tau.
    """

    min_cutoff: float = 1.0  # Hz
    beta: float = 0.01  # Hz per pixel per second
    d_cutoff: float = 1.0  # Hz, of the speed

    def __post_init__(self) -> None:
        if not (_positive(self.min_cutoff, self.d_cutoff) and math.isfinite(self.beta) and self.beta >= 0):
            raise ValueError(f"min_cutoff and d_cutoff must be > 0 Hz and beta >= 0, got {self}.")

    def start(self, z: Array, noise: Array | None) -> Memory:
        """Output the landmarks as they are, at rest."""
        return Memory(z, (z, np.zeros_like(z)))

    def advance(self, past: Memory, z: Array, elapsed: float, noise: Array | None) -> Memory:
        """Move the speed, then the position; the noise is not used."""
        raw, speed = past.rest
        speed = speed + _share(self.d_cutoff, elapsed) * ((z - raw) / elapsed - speed)
        output = past.output + _share(self.min_cutoff + self.beta * np.abs(speed), elapsed) * (z - past.output)
        return Memory(output, (z, speed))


@dataclass(frozen=True)
class Kalman:
    """Constant velocity, each landmark on its own with state (x, y, vx, vy), driven by white acceleration noise.

    The process noise is integrated exactly over each interval (Bar-Shalom, Li, Kirubarajan, "Estimation with
    Applications to Tracking and Navigation", 2001, 6.2.2), so the frame rate does not matter.
    """

    acceleration: float = 1e5  # spectral density of the acceleration, px²/s³
    measurement_sigma: float = 1.0  # pixels, where no covariances are given
    initial_speed: float = 100.0  # sigma of the first velocity, px/s

    def __post_init__(self) -> None:
        if not _positive(self.acceleration, self.measurement_sigma, self.initial_speed):
            raise ValueError(f"all options of the Kalman filter must be > 0, got {self}.")

    def start(self, z: Array, noise: Array | None) -> Memory:
        """Begin at the landmarks, as uncertain as they are, with unknown velocity."""
        covariance = np.zeros((len(z), 4, 4))
        covariance[:, :2, :2] = self._noise(noise)
        covariance[:, 2:, 2:] = np.eye(2) * self.initial_speed**2
        return Memory(z, (np.concatenate([z, np.zeros_like(z)], 1), covariance))

    def advance(self, past: Memory, z: Array, elapsed: float, noise: Array | None) -> Memory:
        """Predict over the elapsed time and update with the landmarks."""
        mean, covariance = past.rest
        t, eye = elapsed, np.eye(2)
        transition = np.kron([[1, t], [0, 1]], eye)
        process = self.acceleration * np.kron([[t**3 / 3, t**2 / 2], [t**2 / 2, t]], eye)
        mean = mean @ transition.T
        covariance = transition @ covariance @ transition.T + process
        innovation = covariance[:, :2, :2] + self._noise(noise)
        gain = np.linalg.solve(innovation, covariance[:, :2, :]).transpose(0, 2, 1)  # (N, 4, 2)
        mean = mean + np.einsum("nij,nj->ni", gain, z - mean[:, :2])
        covariance = covariance - gain @ innovation @ gain.transpose(0, 2, 1)
        return Memory(mean[:, :2], (mean, covariance))

    def _noise(self, noise: Array | None) -> Array:
        return np.eye(2) * self.measurement_sigma**2 if noise is None else noise


class _Past(NamedTuple):
    time: float  # seconds, of the last frame
    memory: Memory


class LandmarkFilter:
    """Smooths one face's landmarks frame by frame with a rule."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._past: _Past | None = None

    def reset(self) -> None:
        """Forget the past; to be called after a loss."""
        self._past = None

    def update(self, landmarks: ArrayLike, timestamp: float, covariances: ArrayLike | None = None) -> FloatArray:
        """Return the smoothed landmarks (N, 2), float32; a repeated time stamp returns the last output.

        Args:
            landmarks: (N, 2) pixels.
            timestamp: seconds, not before the last.
            covariances: (N, 2, 2) pixels squared, positive definite, for rules that weigh measurements.

        Raises:
            FrameError: an argument is not finite, has the wrong shape, or time goes back; the filter is unchanged.
        """
        z = np.array(landmarks, np.float64)
        if z.ndim != 2 or z.shape[1] != 2 or not np.isfinite(z).all():
            raise FrameError(f"landmarks must be finite and of shape (N, 2), got shape {z.shape}.")
        noise = None if covariances is None else np.array(covariances, np.float64)
        if noise is not None and (noise.shape != (len(z), 2, 2) or not np.isfinite(noise).all()):
            raise FrameError(f"covariances must be finite and of shape ({len(z)}, 2, 2), got shape {noise.shape}.")
        if not math.isfinite(timestamp):
            raise FrameError(f"a time stamp must be finite seconds, got {timestamp}.")
        self._past = _Past(timestamp, self._next(z, timestamp, noise))
        return self._past.memory.output.astype(np.float32)

    def _next(self, z: Array, timestamp: float, noise: Array | None) -> Memory:
        if self._past is None:
            return self._rule.start(z, noise)
        time, memory = self._past
        if memory.output.shape != z.shape:
            raise FrameError(f"there were {len(memory.output)} landmarks before and {len(z)} now: call reset() first.")
        if timestamp < time:
            raise FrameError(f"time went back from {time} s to {timestamp} s: call reset() first.")
        return memory if timestamp == time else self._rule.advance(memory, z, timestamp - time, noise)


_RULES: dict[str, type[OneEuro] | type[Kalman]] = {"one-euro": OneEuro, "kalman": Kalman}


def make_filter(name: str, **options: float) -> LandmarkFilter:
    """Build a filter by name, "one-euro" or "kalman", with the options of its class.

    Raises:
        ValueError: no such filter, no such option, or an option out of range.
    """
    if name not in _RULES:
        raise ValueError(f"no filter {name!r}: choose one of {', '.join(_RULES)}.")
    known = _RULES[name].__dataclass_fields__
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"the {name} filter has no option {', '.join(unknown)}: it takes {', '.join(known)}.")
    return LandmarkFilter(_RULES[name](**options))


def _share(cutoff: float | Array, elapsed: float) -> float | Array:
    """Weight of a new sample in a first-order low pass of the given cutoff in Hz."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * elapsed))


def _positive(*values: float) -> bool:
    return all(math.isfinite(v) and v > 0 for v in values)
