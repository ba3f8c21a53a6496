"""Channels to pixels and back, and pixels to batches and back: maps of (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from qlot.mil.ops.windows import padded
from qlot.mil.registry import moves


@moves("pixel_shuffle")
def _pixel_shuffle(x: Tensor, *, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(x, upscale_factor)


@moves("pixel_unshuffle")
def _pixel_unshuffle(x: Tensor, *, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(x, downscale_factor)


@moves("depth_to_space")
def _depth_to_space(x: Tensor, *, block_size: int) -> Tensor:
    """Unlike `pixel_shuffle`, take channels that belong to one pixel of a block from one run: TensorFlow's order."""
    y = x.unflatten(1, (block_size, block_size, -1))  # (N, down, across, C, H, W)
    return y.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


@moves("space_to_depth")
def _space_to_depth(x: Tensor, *, block_size: int) -> Tensor:
    y = x.unflatten(3, (-1, block_size)).unflatten(2, (-1, block_size))  # (N, C, H, down, W, across)
    return y.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


@moves("space_to_batch")
def _space_to_batch(x: Tensor, *, block_shape: Sequence[int], paddings: Sequence[Sequence[int]]) -> Tensor:
    down, across = block_shape
    y = padded(x, [(before, after) for before, after in paddings])
    y = y.unflatten(3, (-1, across)).unflatten(2, (-1, down))  # (N, C, H, down, W, across)
    return y.permute(3, 5, 0, 1, 2, 4).flatten(0, 2)


@moves("batch_to_space")
def _batch_to_space(x: Tensor, *, block_shape: Sequence[int], crops: Sequence[Sequence[int]]) -> Tensor:
    down, across = block_shape
    y = x.unflatten(0, (down, across, -1))  # (down, across, N, C, H, W)
    y = y.permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)
    return padded(y, [(-before, -after) for before, after in crops])
