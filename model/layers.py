"""Small blocks that several parts of the network share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RMS_EPS = 1.1920929e-07  # float32 machine epsilon, whatever the dtype: the published default


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis, in float32 at least."""

    def __init__(self, width: int, affine: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        y = x / torch.sqrt(x.square().mean(-1, keepdim=True) + RMS_EPS)
        return y if self.weight is None else y * self.weight


class HeadedLinear(nn.Module):
    """One linear layer per head; weights are stored (heads, in, out)."""

    def __init__(self, heads: int, width_in: int, width_out: int) -> None:
        super().__init__()
        bound = width_in**-0.5
        self.weight = nn.Parameter(torch.empty(heads, width_in, width_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(heads, width_out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, heads, M, in) -> (B, heads, M, out)."""
        return x @ self.weight + self.bias[:, None]


class ChannelShuffle(nn.Module):
    """Interleave the channels of `groups` groups (Zhang et al., ShuffleNet, 2018)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        b, c, h, w = x.shape
        return x.reshape(b, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(b, c, h, w)


def glu(x: Tensor) -> Tensor:
    """Gated linear unit over the last axis: first half times sigmoid of the second."""
    value, gate = x.chunk(2, dim=-1)
    return value * gate.sigmoid()
