"""The deployed form of a network: folded norms and affine blocks, and one layout's queries baked in.

What is folded, and why it is exact:

- Batch norm goes into the convolution before it.
- A learnable affine block after a ReLU turns into a clamp: s relu(z) + b = max(s z + b, b) for s >= 0 and
  min(s z + b, b) for s < 0, with s and b folded into the convolution. Nothing moves across the next layer's zero
  padding, which is where folding its bias forward would be wrong.
- The image's standard deviation goes into the first convolution; the mean stays, it would not survive the padding.
- For engines on CPUs the stem's first padding becomes part of a depthwise 1x1 convolution by one.
- Channel shuffles go into the 1x1 convolutions beside them; the finest level's goes into the templates.
- A lateral projection's two 1x1 convolutions are one where the map is small.
- The soft shrink's temperature goes into the templates and out of the branches: t s(x / t) with s(x) = x sigmoid(|x|).
- The branches' 3x3 convolutions on 5x5 patches become matrices; the branches' norms are one norm.
- Pixels go into the first linear layer of the state and come out of the last ones of the heads. The constant pads of
  the state rows become part of a bias.
- The queries' part of the context layer becomes one constant row per landmark.
- The write temperature and the write mask go into the write logits. Written weights sum to one, or to zero where no
  landmark may write, which leaves biases as they are or drops them.
- The slots' gains go into the layers before them; consecutive projections of the slots, without a nonlinearity between
  them, are one: reading after the read values, and the attention output after the values that it averages.
- What is per head is kept on the diagonal of one matrix where that saves moving the landmarks' axis.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from qlot.model.backbone import ConvNormAct
from qlot.model.correlation import lookup_dense, lookup_windowed
from qlot.model.fuse_refiner import FusedBranch, FusedRefiner, FusedRowBranch, soft_shrink
from qlot.model.layers import ChannelShuffle
from qlot.model.qlot import IMAGE_MEAN, IMAGE_STD, QLOT, Features, Lowering, correlate
from qlot.model.refiner import Update

BLOCK = 16  # channels in a block of the layouts in which engines on CPUs convolve; others leave it for a padding
STARTING = 500_000  # products in the time that one more convolution takes to start, 10 us


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


def depthwise_ones(before: nn.Conv2d) -> nn.Conv2d:
    """Return a 1x1 convolution that leaves a map as it is, but takes a zero padding before it as its own.

    Engines that keep maps in a blocked layout for convolutions have no padding for it.
    """
    width = before.out_channels
    conv = nn.Conv2d(width, width, 1, groups=width, bias=False).to(before.weight)
    conv.weight = nn.Parameter(torch.ones_like(conv.weight), requires_grad=False)
    return conv


def pointwise_matrix(conv: nn.Conv2d) -> Tensor:
    """Return a 1x1 convolution, grouped or not, as one matrix (out, in)."""
    return torch.block_diag(*conv.weight[:, :, 0, 0].chunk(conv.groups))


def shuffled(matrix: Tensor, shuffle: ChannelShuffle) -> Tensor:
    """Return a matrix (out, in) with the channel shuffle after it."""
    order = shuffle(torch.arange(len(matrix))[None, :, None, None]).flatten()
    return matrix[order]  # the shuffle's output i is its input order[i]


def pointwise(matrix: Tensor) -> nn.Conv2d:
    """Return a full 1x1 convolution by this matrix (out, in)."""
    conv = nn.Conv2d(matrix.shape[1], matrix.shape[0], 1, bias=False).to(matrix)
    conv.weight = nn.Parameter(matrix[:, :, None, None].contiguous(), requires_grad=False)
    return conv


def fewer_convolutions(lateral: nn.Sequential, pixels: int) -> nn.Module:
    """Return two grouped 1x1 convolutions and the channel shuffle between them without the shuffle.

    One full convolution where its products are few, else the first as it is and the second as a full one.
    """
    first, shuffle, second = lateral
    after = pointwise_matrix(second) @ shuffled(torch.eye(first.out_channels).to(second.weight), shuffle)
    one = after @ pointwise_matrix(first)
    if (one.numel() - after.numel() - first.weight.numel()) * pixels < STARTING:
        return pointwise(one)
    return nn.Sequential(first, pointwise(after))


def before_pointwise(template: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return the templates that do on a 1x1 convolution's input what these do on its output.

    (1, N, K, C/K, R, R) -> (1, N, K, C, R, R): every head now reads all channels.
    """
    heads = conv.weight[:, :, 0, 0].unflatten(0, (template.shape[2], -1))  # (K, C/K, C)
    return torch.einsum("bnkcyx,kci->bnkiyx", template, heads)


class FusedQLOT(nn.Module):
    """A network for one layout, in pixels: extract(image), refine(features, landmarks, hidden). Inference only."""

    def __init__(self, model: QLOT, points: Tensor, mask: Tensor | None, lowering: Lowering) -> None:
        super().__init__()
        model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        cfg = self.config = model.config
        self.lowering = lowering
        queries = model.encode(points)
        self.register_buffer("points", points)
        self.register_buffer("mean", points.new_tensor(IMAGE_MEAN)[:, None, None])
        self.backbone, self.pyramid = model.backbone, model.pyramid
        _replace_convolutions(self.backbone)
        first = self.backbone.stem.stem1.conv
        first.weight /= points.new_tensor(IMAGE_STD)[:, None, None]
        if lowering == "windowed" and first.out_channels % BLOCK == 0:
            self.backbone.stem.pad = nn.Sequential(self.backbone.stem.pad, depthwise_ones(first))
        width = cfg.image_size // 4
        for i, (stage, lateral) in enumerate(zip(cfg.stages, self.pyramid.lateral, strict=False)):
            width //= 2 if stage.downsample else 1
            if isinstance(lateral, nn.Sequential):
                self.pyramid.lateral[i] = fewer_convolutions(lateral, width**2)
        branches = model.refiner.encoder.branches
        templates = [
            t / b.log_temperature.exp()[:, None, None, None] for t, b in zip(queries.templates, branches, strict=True)
        ]
        for i, level in enumerate(self.pyramid.fuse):
            if i == 0 and (lowering == "dense" or templates[0].shape[-1] == 1):
                continue  # at stride 4 four times the products cost more than the shuffle
            level.pointwise = pointwise(shuffled(pointwise_matrix(level.pointwise), level.shuffle))
            level.shuffle = nn.Identity()
            if i == 0:  # only the templates read the finest map
                templates[0] = before_pointwise(templates[0], level.pointwise)
                level.pointwise = nn.Identity()
        for i, template in enumerate(templates):
            self.register_buffer(f"template_{i}", template)
        row = None if mask is None else mask[0]
        branch = FusedBranch if lowering == "windowed" else FusedRowBranch
        self.refiner = FusedRefiner(model.refiner, queries.identity[0], row, cfg, branch)

    @property
    def templates(self) -> tuple[Tensor, ...]:
        """Per level (1, N, K, C/K, R, R), or (1, N, K, C, R, R) where a pointwise convolution went into them."""
        return tuple(getattr(self, f"template_{i}") for i in range(self.config.levels))

    def extract(self, image: Tensor) -> Features:
        """(1, 3, S, S) RGB in [0, 1] -> Features."""
        pyramid, context = self.pyramid(self.backbone(image - self.mean))
        return Features(correlate(pyramid, self.templates, self.lowering), context)

    def refine(self, features: Features, landmarks: Tensor, hidden: Tensor) -> Update:
        """Run one refinement step on landmarks (1, N, 7) and hidden (1, N, H) -> Update, all in pixels."""
        patches = self._patches(features.levels, landmarks.squeeze(0)[:, :2])
        return self.refiner(patches, features.context, landmarks, hidden)

    def _patches(self, levels: tuple[Tensor, ...], position: Tensor) -> list[Tensor]:
        """Shrunk correlations per level around positions (N, 2) px, in the form that the branches take."""
        window, size = self.config.window, self.config.image_size
        centred = position - (size - 1) / 2
        if self.lowering == "dense":
            pairs = zip(levels, self.templates, strict=True)
            seen = [lookup_dense(m, centred[None], t.shape[-1], window, size) for m, t in pairs]
            return [soft_shrink(x[0].flatten(1)) for x in seen]
        seen = soft_shrink(lookup_windowed(levels, self.templates, centred.T, window, size))
        return [x.flatten(1, 2) for x in seen.split(self.config.correlation_heads)]


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
