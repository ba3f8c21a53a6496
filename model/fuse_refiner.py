"""The refiner's deployed form: fewer and larger products, one layout's queries and write mask baked in.

`qlot.model.fuse` lists what is folded. Without the batch axis every linear layer is a plain matrix product. Slots and
local features stay side by side, head after head, on the diagonal of one matrix, instead of being moved to a head axis
and back. Units are pixels at both ends: the first and last linear layers carry the scale.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlot.model.config import QLOTConfig
from qlot.model.layers import HeadedLinear, RMSNorm, glu
from qlot.model.mixer import WriteMixRead
from qlot.model.refiner import CorrelationBranch, Encoder, JoinedLinear, Refiner, StateEncoder, Update

SHUT = -1e4  # a logit whose softmax is zero in every float format, and which bears an addition in float16


def soft_shrink(x: Tensor) -> Tensor:
    """Compute x sigmoid(|x|), the branches' soft shrink; its temperature is in the templates and the branches."""
    return x * torch.sigmoid(x.abs())


class FusedStateEncoder(nn.Module):
    """The three rows of the state encoder as one linear layer on the seven numbers of the interface."""

    def __init__(self, encoder: StateEncoder, size: int) -> None:
        super().__init__()
        weight, bias = encoder.rows.weight, encoder.rows.bias  # rows: covariance, delta, position
        width, half = bias.shape[1], size / 2
        joined = weight.new_zeros(3 * width, 7)
        joined[:width, 2:5] = (weight[0] * weight.new_tensor([1 / 6, 1 / 6, 1.0])[:, None]).T
        joined[width : 2 * width, 5:7] = weight[1, :2].T / half
        joined[2 * width :, 0:2] = weight[2, :2].T / half
        pads = torch.cat([bias[0], bias[1] + weight[1, 2], bias[2] - weight[2, 2]])
        origin = pads.new_tensor([half - 0.5, half - 0.5, math.log(half), math.log(half), 0, 0, 0])
        self.rows = linear(joined, pads - joined @ origin)
        self.linear = encoder.linear

    def forward(self, landmarks: Tensor) -> Tensor:
        """(N, 7) in pixels -> (N, C)."""
        return F.silu(self.linear(F.silu(self.rows(landmarks))))


class FusedBranch(nn.Module):
    """A correlation branch whose small per-head convolution is a matrix per head.

    A 3x3 convolution over a batch of 98 patches of 5x5 is all overhead on every engine; as a product with a banded
    matrix it is one layer.
    """

    def __init__(self, branch: CorrelationBranch, window: int) -> None:
        super().__init__()
        matrix, bias = _patch_matrix(branch, window)
        self.register_buffer("matrix", matrix)
        self.register_buffer("bias", bias[:, None])
        self.linear = branch.linear

    def forward(self, patch: Tensor) -> Tensor:
        """(K, window^2, N) after the soft shrink -> (N, C) before the norm."""
        x = F.silu((self.matrix @ patch).flatten(0, 1) + self.bias)
        return self.linear(x.T)


class FusedRowBranch(nn.Module):
    """The same as one linear layer on all heads' patches side by side, for engines that are made for such layers."""

    def __init__(self, branch: CorrelationBranch, window: int) -> None:
        super().__init__()
        matrix, bias = _patch_matrix(branch, window)
        by_head = torch.block_diag(*matrix).unflatten(1, (-1, window, window))  # (features, K, window, window)
        self.patch = linear(by_head.transpose(1, 2).flatten(1), bias)
        self.linear = branch.linear

    def forward(self, patch: Tensor) -> Tensor:
        """(N, window * K * window) after the soft shrink, in the order of `lookup_dense` -> (N, C) before the norm."""
        return self.linear(F.silu(self.patch(patch)))


def _patch_matrix(branch: CorrelationBranch, window: int) -> tuple[Tensor, Tensor]:
    """Return a branch's convolution as (heads, features / heads, window^2), and its bias (features,)."""
    weight = branch.conv.weight  # (heads * M, 1, 3, 3)
    taps = torch.eye(window**2).to(weight).reshape(window**2, 1, window, window)
    responses = F.conv2d(taps, weight).reshape(window**2, branch.conv.groups, -1)  # to every unit patch
    temperature = branch.log_temperature.exp()[:, None, None]
    return responses.permute(1, 2, 0) * temperature, branch.conv.bias.repeat_interleave((window - 2) ** 2)


AnyBranch = type[FusedBranch] | type[FusedRowBranch]


class FusedContext(nn.Module):
    """The context layer for known queries: their share of the product and the bias are one constant row each."""

    def __init__(self, context: JoinedLinear, identity: Tensor) -> None:
        super().__init__()
        state, query, image = context.weight.split(identity.shape[-1], 1)
        self.register_buffer("weight", torch.cat([state, image], 1).T.contiguous())  # (2 C, wide)
        self.register_buffer("rows", F.linear(identity, query, context.bias))  # (N, wide)

    def forward(self, state: Tensor, image: Tensor) -> Tensor:
        """State and image (N, C) -> (N, wide)."""
        return torch.addmm(self.rows, torch.cat([state, image], -1), self.weight)


class FusedEncoder(nn.Module):
    """What a landmark sees (f) and where and who it is (c)."""

    def __init__(self, encoder: Encoder, identity: Tensor, cfg: QLOTConfig, branch: AnyBranch) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branch(b, cfg.window) for b in encoder.branches)
        self.register_buffer("branch_norms", torch.stack([b.norm.weight for b in encoder.branches]))
        self.norm = unit_norm(identity)
        self.correlation, self.film = encoder.correlation, encoder.film
        self.correlation_norm = unit_norm(self.correlation[-1].bias)
        self.state = FusedStateEncoder(encoder.state, cfg.image_size)
        self.context = FusedContext(encoder.context, identity)
        self.context_norm, self.context_features = encoder.context_norm, encoder.context_features

    def forward(self, patches: list[Tensor], context: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Patches per level (N, K_i * window^2), g (1, C), landmarks (N, 7) -> f, c, both (N, wide)."""
        rows = [branch(x) for branch, x in zip(self.branches, patches, strict=True)]
        levels = torch.cat(rows, -1).unflatten(-1, (len(rows), -1))
        branches = F.silu(self.norm(levels) * self.branch_norms).flatten(-2)
        seen = self.correlation_norm(self.correlation(branches))
        gamma, beta = self.film(branches[:, -context.shape[-1] :]).chunk(2, -1)
        c = F.silu(self.context_norm(self.context(self.state(landmarks), gamma * context + beta)))
        return seen + self.context_features(c), c


class FusedMixer(nn.Module):
    """Write-Mix-Read with its gains, temperature, mask and consecutive projections folded."""

    def __init__(self, mixer: WriteMixRead, landmarks: int, mask: Tensor | None) -> None:
        super().__init__()
        self.heads, self.slots, self.key = mixer.heads, mixer.slots, mixer.key
        heads, key = self.heads, self.key
        self.write_route, self.read_route, self.read_logits = mixer.write_route, mixer.read_route, mixer.read_logits
        self.local, self.out = mixer.local, mixer.out
        temperature = torch.exp2(mixer.write_temperature / 3)
        self.register_buffer("write_matrix", (mixer.write_logits.weight / temperature[:, None]).T.contiguous())
        rows = (mixer.write_logits.bias / temperature).repeat(landmarks, 1)
        if mask is not None:
            rows[mask] = SHUT
        self.register_buffer("write_rows", rows)  # (N, 2 * heads * slots)
        nobody = mask is not None and bool(mask.all())  # then the values' sums are zero, bias and all
        value, read_value = (by_head(v, heads, 0.0 if nobody else 1.0) for v in (mixer.value, mixer.read_value))
        depth = value[0].shape[-1]
        read_gain, attention_gain, mlp_gain = mixer.slot_gain  # (heads, 1, 1) each
        gains = torch.cat([read_gain.expand(-1, 1, depth), torch.ones_like(read_gain).expand(-1, 1, depth)], -1)
        values = slice(2 * key, None)
        qkv = mixer.slot_qkv
        attended = scaled(chained((qkv.weight[..., values], qkv.bias[:, values]), mixer.slot_attention), attention_gain)
        mlp = mixer.slot_mlp_out
        self.value = headed(*value)
        self.slot_read = headed(*scaled(chained(read_value, mixer.slot_read), gains))
        self.slot_qkv = headed(
            torch.cat([qkv.weight[..., : 2 * key], attended[0]], -1),
            torch.cat([qkv.bias[:, : 2 * key], attended[1]], -1),
        )
        self.slot_mlp_in = mixer.slot_mlp_in
        self.slot_mlp_out = headed(*scaled((mlp.weight, mlp.bias), mlp_gain))
        self.local_film = _film(mixer.local_film)
        self.register_buffer("own_head", torch.eye(heads).to(rows)[:, None, :, None])

    def forward(self, features: Tensor, context: Tensor, read: Tensor) -> Tensor:
        """Mix f and c (N, wide), [h', q] (N, hidden + C) -> (N, 2 * hidden): candidate and gate features."""
        logits = torch.addmm(self.write_rows, F.silu(self.write_route(context)), self.write_matrix)
        writes, read_writes = logits.T.softmax(-1).chunk(2)  # (heads * slots, N)
        each = (self.heads, self.slots)
        slots = self.value((writes @ features).unflatten(0, each))
        slots = slots + glu(self.slot_read((read_writes @ read).unflatten(0, each)))
        q, k, v = self.slot_qkv(slots).split([self.key, self.key, slots.shape[-1]], -1)
        slots = slots + (q @ k.transpose(-1, -2) * self.key**-0.5).softmax(-1) @ v
        slots = slots + self.slot_mlp_out(F.silu(self.slot_mlp_in(slots)))

        weights = self.read_logits(F.silu(self.read_route(read))).unflatten(-1, each).softmax(-1).flatten(-2)
        diagonal = (slots[:, :, None] * self.own_head).flatten(2).flatten(0, 1)  # (heads * slots, wide)
        message = weights @ diagonal
        scale, offset = self.local_film(F.silu(self.local(features))).chunk(2, -1)
        return self.out(message * scale + offset)


class FusedRefiner(nn.Module):
    """One refinement step for a known layout, in pixels."""

    def __init__(
        self, refiner: Refiner, identity: Tensor, mask: Tensor | None, cfg: QLOTConfig, branch: AnyBranch
    ) -> None:
        super().__init__()
        self.register_buffer("identity", identity)
        self.encoder = FusedEncoder(refiner.encoder, identity, cfg, branch)
        self.hidden_norm = refiner.hidden_norm
        self.mixer = FusedMixer(refiner.mixer, len(identity), mask)
        self.gates, self.hidden_linear = refiner.gates, refiner.hidden_linear
        halves = [x.unflatten(-1, (2, -1)).movedim(-2, 0) for x in (refiner.heads.weight, refiner.heads.bias)]
        self.heads = linear(halves[0].permute(0, 1, 3, 2).flatten(0, 2), halves[1].flatten())
        half, log_half = cfg.image_size / 2, math.log(cfg.image_size / 2)
        self.delta = linear(refiner.delta.weight * half, refiner.delta.bias * half)
        to_pixels = refiner.covariance.bias.new_tensor([log_half, log_half, 0.0])
        self.covariance = linear(refiner.covariance.weight, refiner.covariance.bias + to_pixels)

    def forward(self, patches: list[Tensor], context: Tensor, landmarks: Tensor, hidden: Tensor) -> Update:
        """Patches per level, g (1, C), landmarks (1, N, 7) px, hidden (1, N, H) -> Update in pixels."""
        f, c = self.encoder(patches, context, landmarks.squeeze(0))
        before = hidden.squeeze(0)
        h = self.hidden_norm(before)
        candidate, gate_features = self.mixer(f, c, torch.cat([h, self.identity], -1)).chunk(2, -1)
        reset, update, gain = self.gates(F.silu(gate_features)).sigmoid().chunk(3, -1)
        candidate = torch.tanh(reset * self.hidden_linear(h) + candidate) * gain
        # As a difference, which is the same to the bit: of an addition that is an output and is also read, LiteRT's GPU
        # delegate returns an operand (google-ai-edge/LiteRT#8599). `qlot lint` holds the written files to it.
        after = before - update * (before - candidate)
        delta, covariance = glu(self.heads(after)).chunk(2, -1)
        return Update(self.delta(delta).unsqueeze(0), self.covariance(covariance).unsqueeze(0), after.unsqueeze(0))


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a linear layer with this weight (out, in) and bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0]).to(weight)
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    layer.bias = nn.Parameter(bias.contiguous(), requires_grad=False)
    return layer


def headed(weight: Tensor, bias: Tensor) -> HeadedLinear:
    """Return a headed linear layer with this weight (heads, in, out) and bias (heads, out)."""
    layer = HeadedLinear(*weight.shape).to(weight)
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    layer.bias = nn.Parameter(bias.contiguous(), requires_grad=False)
    return layer


def unit_norm(like: Tensor) -> RMSNorm:
    """Return a norm with weights of one: engines know the form with weights as one operator."""
    return RMSNorm(like.shape[-1]).to(like).requires_grad_(requires_grad=False)


def by_head(layer: nn.Linear, heads: int, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return weight (heads, in, out / heads) and bias (heads, out / heads) of a linear layer."""
    weight = layer.weight.unflatten(0, (heads, -1)).transpose(-1, -2)
    return weight * factor, layer.bias.unflatten(0, (heads, -1)) * factor


def _film(layer: HeadedLinear) -> nn.Linear:
    """Return per-head scales and offsets as one linear layer: the scales of all heads, then the offsets."""
    heads = layer.weight.shape[0]
    matrix = torch.block_diag(*layer.weight.transpose(1, 2))  # rows: head, scale or offset, channel
    parts = (x.unflatten(0, (heads, 2, -1)).transpose(0, 1).flatten(0, 2) for x in (matrix, layer.bias.flatten()))
    return linear(*parts)


def chained(first: tuple[Tensor, Tensor], then: HeadedLinear) -> tuple[Tensor, Tensor]:
    """Return weight and bias of two headed linear layers in a row."""
    weight, bias = first
    return weight @ then.weight, (bias[:, None] @ then.weight)[:, 0] + then.bias


def scaled(layer: tuple[Tensor, Tensor], gain: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply the outputs of a headed linear layer. Gain (heads, 1, out or 1)."""
    return layer[0] * gain, layer[1] * gain[:, 0]
