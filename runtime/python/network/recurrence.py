"""One frame of the recurrence on the host: refine, gate, add, and clamp after the last step.

The stages return displacements and never positions: positions stay float32 here, whatever the graphs compute in.
Source of the gate: Gschwind, Weisenhorn, Badertscher, "QLOT: Queried Learned Optimization for Face Landmark Tracking"
(OST, 2026); the floor under the root keeps saturated correlations from turning into NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qlot.runtime.geometry import FloatArray
from qlot.runtime.network.state import State, clamp_output

Features = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Gate:
    """Radius in pixels of the network input (0: no gate) and cutoff in [0, 1)."""

    radius: float = 0.0
    cutoff: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.radius) and self.radius >= 0 and 0 <= self.cutoff < 1):
            raise ValueError(f"gate radius must be >= 0 px and cutoff in [0, 1), got {self.radius} and {self.cutoff}")


class Network(Protocol):
    """The network as a caller sees it, whoever runs it: a bundle's sessions or PyTorch."""

    @property
    def size(self) -> int:
        """Side of the network input in pixels."""

    def extract(self, image: FloatArray) -> Features:
        """Run the extractor on an image (1, 3, S, S), RGB in [0, 1]."""

    def refine(self, features: Features, state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run one step: displacement (1, N, 2) px before the gate, covariance (1, N, 3), hidden (1, N, C)."""


MOST_LOG_SIGMA = 20.0  # beyond, exp and square leave float32 and the gate has long been open


def gate_factor(displacement: FloatArray, covariance: FloatArray, gate: Gate) -> FloatArray:
    """Return k in [0, 1], (1, N, 1): how much of each displacement the uncertainty along it lets through."""
    if gate.radius == 0:
        return np.ones((*displacement.shape[:-1], 1), np.float32)
    length = np.sqrt(np.sum(displacement * displacement, -1, keepdims=True))
    sigmas = np.exp(np.minimum(covariance[..., :2], np.float32(MOST_LOG_SIGMA)))
    along = sigmas * displacement / np.maximum(length, np.float32(1e-6))
    cross = 2 * np.tanh(covariance[..., 2:3]) * along[..., :1] * along[..., 1:]
    sigma = np.sqrt(np.maximum(np.sum(along * along, -1, keepdims=True) + cross, 0))
    return np.maximum(np.tanh(sigma / np.float32(gate.radius)) - np.float32(gate.cutoff), 0) / np.float32(
        1 - gate.cutoff
    )


def step(stages: Network, features: Features, state: State, gate: Gate) -> State:
    """Run one refinement step and apply the gate; nothing is clamped."""
    displacement, covariance, hidden = stages.refine(features, state)
    moved = displacement * gate_factor(displacement, covariance, gate)
    landmarks = np.concatenate([state.landmarks[..., :2] + moved, covariance, moved], -1)
    return State(landmarks.astype(np.float32, copy=False), hidden)


def steps(stages: Network, features: Features, state: State, count: int, gate: Gate) -> Iterator[State]:
    """Yield the state after each of a frame's `count` steps; the last one is clamped, ready for the next frame."""
    for i in range(count):
        state = step(stages, features, state, gate)
        if i == count - 1:
            state = State(clamp_output(state.landmarks, stages.size), state.hidden)
        yield state
