"""The recurrent state a caller carries between frames, and how it starts and moves.

A row of `landmarks` is x, y, log sigma_x, log sigma_y, artanh rho, dx, dy: positions and displacements in pixels of the
network input with pixel centres at integers (the input spans [-0.5, S - 0.5]), sigmas as the logarithm of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.defaults import CLAMP_LOG_SIGMA, CLAMP_POSITION
from qlot.runtime.geometry import CropBox, FloatArray


@dataclass(frozen=True)
class State:
    """Landmarks (1, N, 7) and hidden (1, N, C), float32."""

    landmarks: FloatArray
    hidden: FloatArray


def cold_start(points: NDArray[np.float64], size: int, hidden_width: int) -> State:
    """Start at the canonical face: x, y = the query point's own (x, -y), sigma half the input, all else zero.

    Args:
        points: (N, 3) canonical landmark positions, y up.
        size: side S of the network input in pixels.
        hidden_width: channels C of the hidden state.
    """
    half = size / 2
    landmarks = np.zeros((1, len(points), 7), np.float32)
    landmarks[0, :, 0] = points[:, 0] * half + half - 0.5
    landmarks[0, :, 1] = -points[:, 1] * half + half - 0.5
    landmarks[0, :, 2:4] = np.log(half)
    return State(landmarks, np.zeros((1, len(points), hidden_width), np.float32))


def move_crop(state: State, old: CropBox, new: CropBox, size: int) -> State:
    """Express a state in another crop of the same frame, so that a moving crop is not seen as motion.

    With x' = s x + t: log sigma += ln s, displacement *= s; rho and hidden stay.
    """
    if old == new:
        return state
    s = old.side / new.side
    middle = (size - 1) / 2
    shift = np.array([old.center_x - new.center_x, old.center_y - new.center_y]) * (size / new.side)
    landmarks = state.landmarks.astype(np.float64)
    landmarks[..., 0:2] = (landmarks[..., 0:2] - middle) * s + middle + shift
    landmarks[..., 2:4] += np.log(s)
    landmarks[..., 5:7] *= s
    return State(landmarks.astype(np.float32), state.hidden)


def clamp_output(landmarks: FloatArray, size: int) -> FloatArray:
    """Clamp a frame's final landmarks: positions to twice the input, log sigmas to [-10, 3] (normalised)."""
    half = size / 2
    out = landmarks.copy()
    middle = half - 0.5
    out[..., 0:2] = np.clip(out[..., 0:2], middle - CLAMP_POSITION * half, middle + CLAMP_POSITION * half)
    out[..., 2:4] = np.clip(out[..., 2:4], *(bound + np.log(half) for bound in CLAMP_LOG_SIGMA))
    return out


def covariance_matrices(landmarks: FloatArray) -> NDArray[np.float64]:
    """Return (N, 2, 2) covariances in squared input pixels from a state's landmarks (1, N, 7)."""
    row = landmarks[0].astype(np.float64)
    sx, sy = np.exp(row[:, 2]), np.exp(row[:, 3])
    cross = np.tanh(row[:, 4]) * sx * sy
    return np.stack([np.stack([sx * sx, cross], -1), np.stack([cross, sy * sy], -1)], -2)
