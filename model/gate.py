"""The uncertainty gate: a landmark moves only as far as the covariance along its motion justifies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

STEEP = 1e30  # turns any radius that is not 0 into far more than 1
MOST_LOG_SIGMA = 20.0  # beyond, exp and square leave float32 and the gate has long been open


class TensorGate(NamedTuple):
    """Radius (normalised: pixels over half the image side; 0 means no gate) and cutoff in [0, 1)."""

    radius: Tensor | float
    cutoff: Tensor | float


def gate_factor(delta: Tensor, covariance: Tensor, gate: TensorGate) -> Tensor:
    """Return k in [0, 1] for a displacement.

    k = relu(tanh(sigma_u / radius) - cutoff) / (1 - cutoff), sigma_u the standard deviation along the displacement
    (Gschwind, Weisenhorn, Badertscher, 2026). The radicand is floored at 0, where a saturated correlation would leave
    it negative, and a radius of 0 opens the gate instead of dividing by it.

    Args:
        delta: (B, N, 2) normalised.
        covariance: (B, N, 3) log sigma_x, log sigma_y, artanh rho, normalised.
        gate: radius and cutoff.

    Returns:
        (B, N, 1).
    """
    radius = torch.as_tensor(gate.radius, dtype=delta.dtype, device=delta.device)
    length = delta.square().sum(-1, keepdim=True).sqrt()
    along = covariance[..., :2].clamp(max=MOST_LOG_SIGMA).exp() * delta / length.clamp(min=1e-6)
    cross = 2 * covariance[..., 2:].tanh() * along[..., :1] * along[..., 1:]
    sigma = (along.square().sum(-1, keepdim=True) + cross).clamp(min=0).sqrt()
    radius = radius.clamp(min=0)
    off = (1 - radius * STEEP).clamp(min=0)  # 1 for a radius of 0, else 0: a selection would leave some delegates
    k = (torch.tanh(sigma / (radius + off)) - gate.cutoff).clamp(min=0) / (1 - gate.cutoff)
    return torch.maximum(k, off)
