"""A linear map from one set of points to another's labels, so that a peer is not charged for its conventions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from qlot.training.data.clip import Array

RIDGE: Final = 1e-2  # of the mean square of the inputs


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Landmarks in the frame of their own box, times a matrix."""

    weights: Array  # (2 N + 1, 2 M)

    @classmethod
    def fit(cls, points: Array, labels: Array) -> Self:
        """Fit by ridge regression; points (F, N, 2), labels (F, M, 2), pixels."""
        inputs, centre, scale = _inputs(points)
        targets = ((labels - centre) / scale).reshape(len(labels), -1)
        square = inputs.T @ inputs
        square += RIDGE * np.trace(square) / len(square) * np.diag([*np.ones(len(square) - 1), 0])
        return cls(np.asarray(np.linalg.solve(square, inputs.T @ targets), np.float64))

    def __call__(self, points: Array) -> Array:
        """Return (F, M, 2) pixels for points (F, N, 2)."""
        inputs, centre, scale = _inputs(points)
        return np.asarray((inputs @ self.weights).reshape(len(points), -1, 2) * scale + centre)


def _inputs(points: Array) -> tuple[Array, Array, Array]:
    centre = points.mean(1, keepdims=True)
    scale = np.sqrt(((points - centre) ** 2).sum(-1).mean(1))[:, None, None]
    flat = ((points - centre) / scale).reshape(len(points), -1)
    return np.concatenate([flat, np.ones((len(points), 1))], 1), centre, scale
