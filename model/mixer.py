"""Write-Mix-Read: landmarks exchange information through a few slots instead of attending to each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlot.model.config import QLOTConfig
from qlot.model.layers import HeadedLinear, glu


class WriteMixRead(nn.Module):
    """Landmarks write to S slots per head, slots attend to each other, landmarks read back (published QLOT mixer).

    Write weights are a softmax over landmarks, read weights one over slots. Slots take three gated residual branches in
    this order: read features, attention, MLP.
    """

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        wide, hidden, heads, slots = cfg.feature_width, cfg.hidden_width, cfg.mixer_heads, cfg.mixer_slots
        depth, key = wide // heads, cfg.mixer_key
        read = hidden + cfg.channels
        self.heads, self.slots, self.key = heads, slots, key
        self.write_route = nn.Linear(wide, hidden)
        self.write_logits = nn.Linear(hidden, 2 * heads * slots)
        self.write_temperature = nn.Parameter(torch.zeros(2 * heads * slots))
        self.read_route = nn.Linear(read, hidden)
        self.read_logits = nn.Linear(hidden, heads * slots)
        self.value = nn.Linear(wide, wide)
        self.read_value = nn.Linear(read, wide)
        self.slot_read = HeadedLinear(heads, depth, 2 * depth)
        self.slot_qkv = HeadedLinear(heads, depth, 2 * key + depth)
        self.slot_attention = HeadedLinear(heads, depth, depth)
        self.slot_mlp_in = HeadedLinear(heads, depth, 2 * depth)
        self.slot_mlp_out = HeadedLinear(heads, 2 * depth, depth)
        self.slot_gain = nn.Parameter(torch.zeros(3, heads, 1, 1))
        self.local = nn.Linear(wide, heads * key)
        self.local_film = HeadedLinear(heads, key, 2 * depth)
        self.out = nn.Linear(wide, 2 * hidden)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        """(..., N, heads * D) -> (..., heads, N, D)."""
        return x.unflatten(-1, (heads, -1)).transpose(-3, -2)

    def write_weights(self, context: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, wide) -> (B, 2 * heads, slots, N); a masked landmark (B, N) gets zero, all masked gives all zero."""
        logits = self.write_logits(F.silu(self.write_route(context))) / torch.exp2(self.write_temperature / 3)
        logits = logits.transpose(-1, -2)
        if mask is None:
            weights = logits.softmax(-1)
        else:
            hidden = mask[..., None, :]
            weights = logits.masked_fill(hidden, torch.finfo(logits.dtype).min).softmax(-1).masked_fill(hidden, 0.0)
        return weights.unflatten(-2, (2 * self.heads, self.slots))

    def _write(self, weights: Tensor, x: Tensor, value: nn.Linear, mask: Tensor | None) -> Tensor:
        """Weights (B, heads, slots, N) of the values of x (B, N, in) -> (B, heads, slots, D).

        Summing before projecting is the same function: a head projects its few slots instead of all landmarks. Weights
        sum to 1, which leaves the bias as it is, or to 0 where every landmark is masked.
        """
        sums = (weights.flatten(-3, -2) @ x).unflatten(-2, (self.heads, self.slots))
        projection = value.weight.unflatten(0, (self.heads, -1)).transpose(-1, -2)  # (heads, in, D)
        bias = value.bias.unflatten(0, (self.heads, 1, -1))
        if mask is not None:
            bias = bias * mask.logical_not().any(-1)[..., None, None, None]
        return sums @ projection + bias

    def forward(self, features: Tensor, context: Tensor, read: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix.

        Args:
            features: f (B, N, wide).
            context: c (B, N, wide), decides where a landmark writes.
            read: [h', q] (B, N, hidden + C), decides what it reads.
            mask: bool (B, N), True for landmarks that must not write.

        Returns:
            (B, N, 2 * hidden): candidate and gate features.
        """
        heads, depth = self.heads, features.shape[-1] // self.heads
        writes, read_writes = self.write_weights(context, mask).chunk(2, -3)
        slots = self._write(writes, features, self.value, mask)
        read_slots = self._write(read_writes, read, self.read_value, mask)

        slots = slots + self.slot_gain[0] * glu(self.slot_read(read_slots))
        q, k, v = self.slot_qkv(slots).split([self.key, self.key, depth], -1)
        attention = (q @ k.transpose(-1, -2) * self.key**-0.5).softmax(-1) @ v
        slots = slots + self.slot_gain[1] * self.slot_attention(attention)
        slots = slots + self.slot_gain[2] * self.slot_mlp_out(F.silu(self.slot_mlp_in(slots)))

        weights = self._split(self.read_logits(F.silu(self.read_route(read))), heads).softmax(-1)
        scale, offset = self.local_film(self._split(F.silu(self.local(features)), heads)).chunk(2, -1)
        mixed = weights @ slots * scale + offset  # (B, heads, N, D)
        return self.out(mixed.transpose(-3, -2).flatten(-2))
