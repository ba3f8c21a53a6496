"""The recurrent state inside the network (normalised) and at its interface (pixels).

Normalised coordinates put -1 and 1 on the image's edges: x_n = (x + 0.5) 2/S - 1 for pixel centres at integers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

CLAMP_POSITION = 2.0
CLAMP_LOG_SIGMA = (-10.0, 3.0)


class TensorState(NamedTuple):
    """Normalised: position (B, N, 2), covariance (B, N, 3) log sigmas and artanh rho, delta (B, N, 2), hidden."""

    position: Tensor
    covariance: Tensor
    delta: Tensor
    hidden: Tensor


def cold_start(points: Tensor, hidden_width: int) -> TensorState:
    """Start at the query points' own (x, -y) with a sigma of half the image. points (B, N, 3) canonical, y up."""
    zeros = torch.zeros_like(points)
    position = points[..., :2] * points.new_tensor([1.0, -1.0])
    return TensorState(position, zeros, zeros[..., :2], points.new_zeros(*points.shape[:2], hidden_width))


def from_pixels(landmarks: Tensor, hidden: Tensor, size: int) -> TensorState:
    """Read interface landmarks (B, N, 7); nothing is clamped."""
    half = size / 2
    log_half = math.log(half)
    covariance = landmarks[..., 2:5] - landmarks.new_tensor([log_half, log_half, 0.0])
    return TensorState((landmarks[..., 0:2] + 0.5) / half - 1, covariance, landmarks[..., 5:7] / half, hidden)


def to_pixels(state: TensorState, size: int) -> Tensor:
    """Write interface landmarks (B, N, 7); nothing is clamped."""
    half = size / 2
    log_half = math.log(half)
    covariance = state.covariance + state.covariance.new_tensor([log_half, log_half, 0.0])
    return torch.cat([(state.position + 1) * half - 0.5, covariance, state.delta * half], -1)


def clamp_output(state: TensorState) -> TensorState:
    """Clamp positions and log sigmas: only a frame's final output, never between iterations."""
    low, high = CLAMP_LOG_SIGMA
    sigma = state.covariance[..., :2].clamp(low, high)
    position = state.position.clamp(-CLAMP_POSITION, CLAMP_POSITION)
    return state._replace(position=position, covariance=torch.cat([sigma, state.covariance[..., 2:]], -1))
