"""The default output: landmarks that rest while nothing moves, and do not trail when something does.

A low pass trades flicker for lag, because it has one cutoff for noise and motion alike. This rule asks for evidence: a
landmark keeps its own velocity, and takes in what the network says as far as it cannot be noise. Noise is measured in
`u`, a share of the landmark's own standard deviation, so a landmark that is hardly seen is held longer. A deviation
from where the landmark was expected is taken in at once if it is large. If it lasts, or the landmark has a velocity, a
low pass about the landmark's own course takes it in, which does not trail. What it does beside other filters:
docs/benchmarks.md; the rule: runtime/contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from qlot.runtime.bundle.manifest import SteadySpec
from qlot.runtime.tracking.filters import Array, Memory

SOFTNESS: Final = 1.5  # exponent of a sudden deviation
LEAST_NOISE: Final = 1e-6  # pixels
MOST_NOISE: Final = 2.0  # of the median over the landmarks: a hidden one must not be left behind by the face


@dataclass(frozen=True)
class Steady:
    """Evidence of motion against noise; one landmark is a point with a velocity and a lasting deviation.

    Args:
        spec: its constants, `unit` above 0.
    """

    spec: SteadySpec

    def start(self, z: Array, noise: Array | None) -> Memory:
        """Output the landmarks as they are, at rest."""
        return Memory(z, (np.zeros_like(z), np.zeros_like(z)))

    def advance(self, past: Memory, z: Array, elapsed: float, noise: Array | None) -> Memory:
        """Take in landmarks (N, 2) with covariances (N, 2, 2) that came `elapsed` > 0 seconds after the last.

        Raises:
            ValueError: no covariances.
        """
        if noise is None:
            raise ValueError("the steady rule weighs landmarks by their covariances; pass them as well")
        spec, (velocity, lasting) = self.spec, past.rest
        u = spec.unit * np.maximum(np.linalg.det(noise), 0) ** 0.25
        u = np.clip(u, LEAST_NOISE, max(LEAST_NOISE, MOST_NOISE * float(np.median(u))))[:, None]
        expected = past.output + elapsed * velocity
        deviation = z - expected
        lasting = lasting + _share(spec.lasting_cutoff, elapsed) * (deviation - lasting)
        sudden = 1 - np.exp(-((_length(deviation) / (spec.sudden * u)) ** SOFTNESS))
        evidence = (_length(lasting) / (spec.lasting * u)) ** 2 + (_length(velocity) / (spec.speed * u)) ** 2
        moving = 1 - np.exp(-evidence)
        gain = moving * _share(spec.moving_cutoff, elapsed)
        gain = gain + (1 - gain) * sudden
        told = sudden + (1 - sudden) * spec.moving_share * moving
        velocity = velocity + told * gain * deviation / elapsed
        velocity = velocity * (1 - _share(spec.rest_cutoff, elapsed) * (1 - moving) * (1 - sudden))
        return Memory(expected + gain * deviation, (velocity, lasting))


def _share(cutoff: float, elapsed: float) -> float:
    """Return what a first-order low pass of a cutoff in Hz takes in within a time."""
    return float(-np.expm1(-2 * np.pi * cutoff * elapsed))


def _length(vectors: Array) -> Array:
    return np.asarray(np.linalg.norm(vectors, axis=1, keepdims=True))
