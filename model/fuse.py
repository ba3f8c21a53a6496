"""The deployed form of a network: folded norms and affine blocks, and one layout's queries baked in.

What is folded, and why it is exact:

- Batch norm goes into the convolution before it.
- A learnable affine block after a ReLU turns into a clamp: s relu(z) + b = max(s z + b, b) for s >= 0 and
  min(s z + b, b) for s < 0, with s and b folded into the convolution. Nothing moves across the next layer's zero
  padding, which is where folding its bias forward would be wrong.
- The image's standard deviation goes into the first convolution; the mean stays, it would not survive the padding.
- The branches' 3x3 convolutions on 5x5 patches become matrices.
- The write temperature goes into the write logits, and the constant pads of the state rows into one bias.
- The slots' attention output goes into the values it averages, whose weights sum to one.
- Channel shuffles go into the 1x1 convolutions beside them; the finest level's goes into the templates.
- The queries' part of the context layer becomes one constant row per landmark.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from qlot.model.backbone import ConvNormAct
from qlot.model.correlation import block_diagonal
from qlot.model.layers import ChannelShuffle
from qlot.model.qlot import IMAGE_MEAN, IMAGE_STD, QLOT, Features, Lowering, correlate, look_up
from qlot.model.refiner import CorrelationBranch, JoinedLinear, StateEncoder, Update
from qlot.model.state import State


class ConvClamp(nn.Module):
    """A convolution with bias and the clamp that a ReLU with an affine block becomes."""

    def __init__(self, block: ConvNormAct) -> None:
        super().__init__()
        conv, bn = block.conv, block.bn
        factor = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        bias = bn.bias - bn.running_mean * factor
        self.low: float | None = None
        self.high: float | None = None
        if block.lab is not None:
            scale, shift = block.lab.scale, block.lab.bias
            factor, bias = factor * scale, bias * scale + shift
            if scale.item() >= 0:
                self.low = shift.item()
            else:
                self.high = shift.item()
        self.conv = nn.Conv2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups
        ).to(conv.weight)
        self.conv.weight = nn.Parameter(conv.weight * factor[:, None, None, None], requires_grad=False)
        self.conv.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H/stride, W/stride)."""
        x = self.conv(x)
        return x if self.low is None and self.high is None else x.clamp(self.low, self.high)


def ungrouped(conv: nn.Conv2d, shuffle: ChannelShuffle, *, shuffle_first: bool) -> nn.Conv2d:
    """Return a grouped 1x1 convolution and the channel shuffle before or after it as one full 1x1 convolution.

    Up to four times the products, but no shuffle: engines keep the map in their blocked layout across it.
    """
    matrix = torch.block_diag(*conv.weight[:, :, 0, 0].chunk(conv.groups))  # (out, in)
    channels = torch.arange(conv.in_channels if shuffle_first else conv.out_channels)
    order = shuffle(channels[None, :, None, None]).flatten()  # the shuffle's output i is its input order[i]
    full = matrix[:, order.argsort()] if shuffle_first else matrix[order]
    fused = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False).to(matrix)
    fused.weight = nn.Parameter(full[:, :, None, None].contiguous(), requires_grad=False)
    return fused


def before_pointwise(template: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return the templates that do on a 1x1 convolution's input what these do on its output.

    (1, N, K, C/K, R, R) -> (1, N, K, C, R, R): every head now reads all channels.
    """
    heads = conv.weight[:, :, 0, 0].unflatten(0, (template.shape[2], -1))  # (K, C/K, C)
    return torch.einsum("bnkcyx,kci->bnkiyx", template, heads)


class FusedStateEncoder(nn.Module):
    """The three rows of the state encoder as one linear layer on its seven numbers."""

    def __init__(self, encoder: StateEncoder) -> None:
        super().__init__()
        weight, bias = encoder.rows.weight, encoder.rows.bias  # rows: covariance, delta, position
        width = bias.shape[1]
        joined = weight.new_zeros(3 * width, 7)
        joined[:width, 0:3] = (weight[0] * weight.new_tensor([1 / 6, 1 / 6, 1.0])[:, None]).T
        joined[width : 2 * width, 3:5] = weight[1, :2].T
        joined[2 * width :, 5:7] = weight[2, :2].T
        pads = torch.cat([bias[0], bias[1] + weight[1, 2], bias[2] - weight[2, 2]])
        self.rows = nn.Linear(7, 3 * width).to(weight)
        self.rows.weight = nn.Parameter(joined, requires_grad=False)
        self.rows.bias = nn.Parameter(pads, requires_grad=False)
        self.linear = encoder.linear

    def forward(self, state: State) -> Tensor:
        """State -> (B, N, C)."""
        x = self.rows(torch.cat([state.covariance, state.delta, state.position], -1))
        return nn.functional.silu(self.linear(nn.functional.silu(x)))


class FusedBranch(nn.Module):
    """A correlation branch whose small per-head convolution is one matrix per head.

    A 3x3 convolution over a batch of 98 patches of 5x5 is all overhead on every engine; as a product with a banded
    matrix it is one layer.
    """

    def __init__(self, branch: CorrelationBranch, window: int) -> None:
        super().__init__()
        self.register_buffer("temperature", branch.log_temperature.exp()[:, None, None])
        weight = branch.conv.weight  # (heads * M, 1, 3, 3)
        heads, size = branch.conv.groups, window - 2
        taps = torch.eye(window**2).to(weight).reshape(window**2, 1, window, window)
        matrix = nn.functional.conv2d(taps, weight).reshape(window**2, heads, -1)  # every unit patch's response
        self.register_buffer("matrix", matrix.transpose(0, 1).contiguous())  # (heads, window^2, M * size^2)
        bias = branch.conv.bias.repeat_interleave(size**2)
        # `block_diagonal` orders its columns head-minor, so what follows takes its features in that order.
        order = torch.arange(len(bias)).reshape(heads, -1).T.flatten()
        self.register_buffer("bias", bias[order])
        self.linear, self.norm = branch.linear, branch.norm
        self.linear.weight = nn.Parameter(branch.linear.weight[:, order], requires_grad=False)

    def forward(self, patch: Tensor) -> Tensor:
        """(..., K, window, window) -> (..., C)."""
        x = patch * torch.sigmoid(patch.abs() / self.temperature)
        x = x.flatten(-3) @ block_diagonal(self.matrix) + self.bias
        return nn.functional.silu(self.norm(self.linear(nn.functional.silu(x))))


class FusedContext(nn.Module):
    """The context layer for known queries: their share of the product and the bias are one constant row each."""

    def __init__(self, context: JoinedLinear, identity: Tensor) -> None:
        super().__init__()
        state, query, image = context.weight.split(identity.shape[-1], 1)
        self.register_buffer("weight", torch.cat([state, image], 1).T.contiguous())  # (2 C, wide)
        self.register_buffer("rows", nn.functional.linear(identity, query, context.bias))  # (N, wide)

    def forward(self, state: Tensor, identity: Tensor, image: Tensor) -> Tensor:
        """State and image (N, C), the identity being in the rows already -> (N, wide)."""
        return torch.addmm(self.rows, torch.cat([state, image], -1), self.weight)


class FusedQLOT(nn.Module):
    """A network for one layout: extract(image), refine(features, state). Inference only."""

    def __init__(self, model: QLOT, points: Tensor, mask: Tensor | None, lowering: Lowering) -> None:
        super().__init__()
        model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.config, self.lowering = model.config, lowering
        queries = model.encode(points)
        self.register_buffer("points", points)
        self.register_buffer("identity", queries.identity)
        self.register_buffer("mask", mask)
        self.register_buffer("mean", points.new_tensor(IMAGE_MEAN)[:, None, None])
        self.backbone, self.pyramid, self.refiner = model.backbone, model.pyramid, model.refiner
        _replace_convolutions(self.backbone)
        first = self.backbone.stem.stem1.conv
        first.weight /= points.new_tensor(IMAGE_STD)[:, None, None]
        for lateral in self.pyramid.lateral:
            if isinstance(lateral, nn.Sequential):
                lateral[1], lateral[2] = ungrouped(lateral[2], lateral[1], shuffle_first=True), nn.Identity()
        templates = list(queries.templates)
        for i, level in enumerate(self.pyramid.fuse):
            if i == 0 and (lowering == "dense" or templates[0].shape[-1] == 1):
                continue  # at stride 4 four times the products cost more than the shuffle
            level.pointwise = ungrouped(level.pointwise, level.shuffle, shuffle_first=False)
            level.shuffle = nn.Identity()
            if i == 0:  # only the templates read the finest map
                templates[0] = before_pointwise(templates[0], level.pointwise)
                level.pointwise = nn.Identity()
        for i, template in enumerate(templates):
            self.register_buffer(f"template_{i}", template)
        self.refiner.encoder.state = FusedStateEncoder(self.refiner.encoder.state)
        branches = self.refiner.encoder.branches
        self.refiner.encoder.branches = nn.ModuleList(FusedBranch(b, self.config.window) for b in branches)
        self.refiner.encoder.context = FusedContext(self.refiner.encoder.context, queries.identity[0])
        mixer = self.refiner.mixer
        assert mixer.write_temperature is not None  # a model that was trained has one; only this class removes it
        temperature = torch.exp2(mixer.write_temperature / 3)
        mixer.write_logits.weight /= temperature[:, None]
        mixer.write_logits.bias /= temperature
        mixer.write_temperature = None
        values, out = slice(2 * mixer.key, None), mixer.slot_attention
        qkv = mixer.slot_qkv
        qkv.weight[..., values] = qkv.weight[..., values] @ out.weight
        qkv.bias[:, values] = (qkv.bias[:, None, values] @ out.weight)[:, 0] + out.bias
        mixer.slot_attention = nn.Identity()

    @property
    def templates(self) -> tuple[Tensor, ...]:
        """Per level (1, N, K, C/K, R, R), or (1, N, K, C, R, R) where a pointwise convolution went into them."""
        return tuple(getattr(self, f"template_{i}") for i in range(self.config.levels))

    def extract(self, image: Tensor) -> Features:
        """(1, 3, S, S) RGB in [0, 1] -> Features."""
        pyramid, context = self.pyramid(self.backbone(image - self.mean))
        return Features(correlate(pyramid, self.templates, self.lowering), context)

    def refine(self, features: Features, state: State) -> Update:
        """Run one refinement step on a normalised state."""
        patches = look_up(features.levels, self.templates, state.position, self.config.window, self.lowering)
        # Without the batch axis every linear layer is a plain matrix product, which engines run without reshapes.
        mask = None if self.mask is None else self.mask[0]
        single = State(*(x[0] for x in state))
        update = self.refiner([p[0] for p in patches], self.identity[0], features.context[0], single, mask)
        return Update(*(x[None] for x in update))


@torch.no_grad()
def fuse(model: QLOT, points: Tensor, *, mask: Tensor | None = None, lowering: Lowering = "windowed") -> FusedQLOT:
    """Return the deployed form of a model for one layout; the model itself is left as it is.

    Args:
        model: in any mode; statistics of eval mode are used.
        points: (N, 3) canonical query points, y up.
        mask: (N,) bool, True for landmarks that never write into the mixer.
        lowering: how correlation and lookup are computed.
    """
    points = points.to(model.encoding.omega)[None]
    return FusedQLOT(model, points, None if mask is None else mask[None], lowering)


def _replace_convolutions(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, ConvNormAct):
            setattr(module, name, ConvClamp(child))
        else:
            _replace_convolutions(child)
