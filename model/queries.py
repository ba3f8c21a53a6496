"""From a 3D point on the canonical face to what the network asks the image for."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qlot.model.config import QLOTConfig
from qlot.model.convention import SAME, load_convention


class Queries(NamedTuple):
    """Everything the network needs of a layout: constant for a fixed layout, so deployment bakes it."""

    points: Tensor  # (B, N, 3) canonical, y up
    identity: Tensor  # (B, N, C)
    templates: tuple[Tensor, ...]  # per level (B, N, K, C/K, R, R)


class Placement(nn.Module):
    """`as_labelled` of queries, in a network. It has no weights: a checkpoint states the convention by name."""

    at: Tensor
    moves: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        for key, table in zip(("at", "moves"), load_convention(name), strict=True):
            self.register_buffer(key, torch.tensor(table, dtype=torch.float32), persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> (B, N, 3)."""
        apart = (points[..., None, :] - self.at).square().sum(-1)  # (B, N, K)
        nearest = apart.min(-1)
        return points + (nearest.values < SAME**2)[..., None] * self.moves[nearest.indices]


class FourierEncoding(nn.Module):
    """[p, sin(omega p + phi)] with learned frequencies, coordinate-major: 3 + 3 L channels.

    Initialised to harmonic sine and cosine pairs from pi to pi / tau (tau = 0.03) and a low band of quasi-random
    frequencies (golden-ratio sequence) in quadrature pairs.
    """

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        tau, golden = 0.03, (math.sqrt(5) - 1) / 2
        pairs = torch.arange(cfg.harmonic_pairs, dtype=torch.float64)
        harmonic = (math.pi * (1 / tau) ** (pairs / cfg.harmonic_pairs)).repeat_interleave(2)
        i = torch.arange(1, cfg.low_channels + 1, dtype=torch.float64)
        spread = (i * golden + math.sqrt(2) / 2).frac()
        half = torch.arange(cfg.low_channels) // 2 * 2
        low_phase = 2 * math.pi * (spread[half] - 0.5) + (torch.arange(cfg.low_channels) % 2) * math.pi / 2
        omega = torch.cat([harmonic, math.pi * (0.25 + 0.75 * spread)])
        phi = torch.cat([torch.tensor([0.0, math.pi / 2], dtype=torch.float64).repeat(cfg.harmonic_pairs), low_phase])
        self.omega = nn.Parameter(omega.float().expand(3, -1).clone())
        self.phi = nn.Parameter(phi.float())

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 3) canonical, y up and z to the viewer -> (B, N, 3 + 3 L)."""
        p = points * points.new_tensor([1.0, -1.0, -1.0])
        waves = torch.sin(p[..., None] * self.omega + self.phi)
        return torch.cat([p, waves.flatten(-2)], -1)


class IdentityEncoder(nn.Module):
    """Who a landmark is, for the refiner."""

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        c = cfg.channels
        self.mlp = nn.Sequential(nn.Linear(3 + 3 * cfg.frequencies, c), nn.SiLU(), nn.Linear(c, c), nn.SiLU())

    def forward(self, encoding: Tensor) -> Tensor:
        """(B, N, E) -> (B, N, C)."""
        return self.mlp(encoding)


class TemplateEncoder(nn.Module):
    """What a landmark looks like: one small kernel per level and head."""

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        a, b = cfg.template_widths
        self.trunk = nn.Sequential(nn.Linear(3 + 3 * cfg.frequencies, a), nn.SiLU(), nn.Linear(a, b), nn.SiLU())
        self.shapes = [
            (k, cfg.channels // k, r, r) for k, r in zip(cfg.correlation_heads, cfg.correlation_kernels, strict=True)
        ]
        self.levels = nn.ModuleList(nn.Linear(b, math.prod(shape)) for shape in self.shapes)

    def forward(self, encoding: Tensor) -> tuple[Tensor, ...]:
        """(B, N, E) -> per level (B, N, K, C/K, R, R)."""
        x = self.trunk(encoding)
        return tuple(level(x).unflatten(-1, shape) for level, shape in zip(self.levels, self.shapes, strict=True))
