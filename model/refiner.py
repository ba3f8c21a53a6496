"""One refinement step: encode what is seen and known, mix, update the hidden state, predict."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlot.model.config import QLOTConfig
from qlot.model.layers import HeadedLinear, RMSNorm, glu
from qlot.model.mixer import WriteMixRead
from qlot.model.state import TensorState


class Update(NamedTuple):
    """Raw displacement (B, N, 2) before the gate, covariance (B, N, 3), hidden (B, N, H); normalised."""

    delta: Tensor
    covariance: Tensor
    hidden: Tensor


class CorrelationBranch(nn.Module):
    """Soft shrink per head, a small convolution per head, and a linear layer to C channels."""

    def __init__(self, heads: int, width: int, cfg: QLOTConfig) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.zeros(heads))
        self.conv = nn.Conv2d(heads, width, 3, groups=heads)
        self.linear = nn.Linear(width * (cfg.window - 2) ** 2, cfg.channels)
        self.norm = RMSNorm(cfg.channels)

    def forward(self, patch: Tensor) -> Tensor:
        """(B, N, K, window, window) -> (B, N, C)."""
        temperature = self.log_temperature.exp()[:, None, None]
        x = patch * torch.sigmoid(patch.abs() / temperature)
        x = self.conv(x.flatten(0, 1)).flatten(1).unflatten(0, patch.shape[:2])
        return F.silu(self.norm(self.linear(F.silu(x))))


class StateEncoder(nn.Module):
    """Covariance, displacement and position, one small linear layer each, then mixed."""

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        self.rows = HeadedLinear(3, 3, cfg.state_width)
        self.linear = nn.Linear(3 * cfg.state_width, cfg.channels)

    def forward(self, state: TensorState) -> Tensor:
        """State -> (B, N, C)."""
        covariance = state.covariance * state.covariance.new_tensor([1 / 6, 1 / 6, 1.0])
        rows = torch.stack(
            [covariance, F.pad(state.delta, (0, 1), value=1.0), F.pad(state.position, (0, 1), value=-1.0)], 1
        )
        x = self.rows(rows).transpose(1, 2).flatten(-2)  # (B, N, 3 * state_width)
        return F.silu(self.linear(F.silu(x)))


class JoinedLinear(nn.Linear):
    """A linear layer on the concatenation of its inputs."""

    def forward(self, *parts: Tensor) -> Tensor:
        """Parts (..., C_i) -> (..., out)."""
        return super().forward(torch.cat(parts, -1))


class Encoder(nn.Module):
    """What a landmark sees (f) and where and who it is (c)."""

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        c, wide = cfg.channels, cfg.feature_width
        self.branches = nn.ModuleList(
            CorrelationBranch(k, w, cfg) for k, w in zip(cfg.correlation_heads, cfg.branch_channels, strict=True)
        )
        self.correlation = nn.Sequential(nn.Linear(cfg.levels * c, wide), nn.SiLU(), nn.Linear(wide, wide))
        self.correlation_norm = RMSNorm(wide, affine=False)
        self.film = nn.Linear(c, 2 * c)
        self.state = StateEncoder(cfg)
        self.context = JoinedLinear(3 * c, wide)
        self.context_norm = RMSNorm(wide)
        self.context_features = nn.Linear(wide, wide)

    def forward(
        self, patches: list[Tensor], identity: Tensor, context: Tensor, state: TensorState
    ) -> tuple[Tensor, Tensor]:
        """Patches per level, q (B, N, C), g (B, C), state -> f, c, both (B, N, wide)."""
        branches = [branch(patch) for branch, patch in zip(self.branches, patches, strict=True)]
        seen = self.correlation_norm(self.correlation(torch.cat(branches, -1)))
        gamma, beta = self.film(branches[-1]).chunk(2, -1)
        image = gamma * context.unsqueeze(-2) + beta
        c = F.silu(self.context_norm(self.context(self.state(state), identity, image)))
        return seen + self.context_features(c), c


class Refiner(nn.Module):
    """Encoder, mixer, gated update of the hidden state, and the two output heads."""

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        hidden, head = cfg.hidden_width, cfg.head_width
        self.encoder = Encoder(cfg)
        self.hidden_norm = RMSNorm(hidden)
        self.mixer = WriteMixRead(cfg)
        self.gates = nn.Linear(hidden, 3 * hidden)
        self.hidden_linear = nn.Linear(hidden, hidden)
        self.heads = HeadedLinear(2, hidden, 2 * head)
        self.delta = nn.Linear(head, 2)
        self.covariance = nn.Linear(head, 3)

    def forward(
        self, patches: list[Tensor], identity: Tensor, context: Tensor, state: TensorState, mask: Tensor | None = None
    ) -> Update:
        """Patches [(B, N, K_i, 5, 5)], q (B, N, C), g (B, C), state, write mask (B, N) -> Update."""
        f, c = self.encoder(patches, identity, context, state)
        h = self.hidden_norm(state.hidden)
        mixed = self.mixer(f, c, torch.cat([h, identity], -1), mask)
        candidate, gate_features = mixed.chunk(2, -1)
        reset, update, gain = self.gates(F.silu(gate_features)).sigmoid().chunk(3, -1)
        candidate = torch.tanh(reset * self.hidden_linear(h) + candidate) * gain
        hidden = (1 - update) * state.hidden + update * candidate
        # Both heads read the same input, so their weights stand side by side in one product.
        weight, bias = self.heads.weight.transpose(1, 2).flatten(0, 1), self.heads.bias.flatten()
        delta, covariance = F.linear(hidden, weight, bias).chunk(2, -1)
        return Update(self.delta(glu(delta)), self.covariance(glu(covariance)), hidden)
