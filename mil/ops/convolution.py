"""Convolutions and pooling over one to three spatial axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from qlot.mil.registry import computes

Pads = list[tuple[int, int]]  # before and after, of each spatial axis

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMUM: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@computes("conv")
def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Tensor:
    axes = x.ndim - 2
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    pads = _padding(pad_type, pad, x.shape[2:], weight.shape[2:], strides, dilations)
    x, padding = _pad_unevenly(x, pads, 0.0)
    return _CONV[axes](x, weight, bias, strides, padding, dilations, groups)


@computes("conv_transpose")
def _conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pad: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pad_type: str = "valid",
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Tensor:
    axes = x.ndim - 2
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    if pad_type not in ("valid", "custom"):
        raise NotImplementedError(f"pad_type {pad_type!r} of a transposed convolution")
    before = list(pad[::2]) if pad_type == "custom" and pad else [0] * axes
    after = list(pad[1::2]) if pad_type == "custom" and pad else [0] * axes
    whole = _TRANSPOSED[axes](x, weight, bias, strides, groups=groups, dilation=dilations)
    sizes = [n - b - a for n, b, a in zip(whole.shape[2:], before, after, strict=True)]
    if output_shape is not None:  # rows past the last one that an input reaches hold nothing but the bias
        sizes = list(output_shape[2:])
        missing = [max(0, b + n - have) for b, n, have in zip(before, sizes, whole.shape[2:], strict=True)]
        if any(missing):
            extra = [v for m in reversed(missing) for v in (0, m)]
            base = None if bias is None else bias.reshape(-1, *[1] * axes)
            whole = F.pad(whole, extra) if base is None else F.pad(whole - base, extra) + base
    window = [slice(b, b + n) for b, n in zip(before, sizes, strict=True)]
    return whole[(slice(None), slice(None), *window)]


@computes("max_pool")
def _max_pool(
    x: Tensor,
    *,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str,
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    axes = x.ndim - 2
    strides = list(strides or [1] * axes)
    pads = _padding(pad_type, pad, x.shape[2:], kernel_sizes, strides, [1] * axes)
    x, padding = _pad_unevenly(x, pads, -math.inf)
    return _MAXIMUM[axes](x, list(kernel_sizes), strides, padding, ceil_mode=ceil_mode)


@computes("avg_pool")
def _avg_pool(
    x: Tensor,
    *,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str,
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Tensor:
    axes = x.ndim - 2
    strides = list(strides or [1] * axes)
    pads = _padding(pad_type, pad, x.shape[2:], kernel_sizes, strides, [1] * axes)
    padded, padding = _pad_unevenly(x, pads, 0.0)
    pool = _AVERAGE[axes]
    if padded is x:
        return pool(x, list(kernel_sizes), strides, padding, ceil_mode, not exclude_padding_from_average)
    mean = pool(padded, list(kernel_sizes), strides)
    if not exclude_padding_from_average:
        return mean
    inside, _ = _pad_unevenly(torch.ones_like(x), pads, 0.0)
    return mean / pool(inside, list(kernel_sizes), strides)


def _padding(
    pad_type: str,
    pad: Sequence[int] | None,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Pads:
    """Resolve MIL's padding modes.

    "same" gives ceil(size / stride) outputs, an odd pixel after ("same_lower": before).
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        values = list(pad or [0] * (2 * len(sizes)))
        return list(zip(values[::2], values[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise NotImplementedError(f"pad_type {pad_type!r}")
    pads: Pads = []
    for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if pad_type == "same" else (more, less))
    return pads


def _pad_unevenly(x: Tensor, pads: Pads, value: float) -> tuple[Tensor, list[int]]:
    """Return x and the padding for the operator; where the two sides differ x is padded and nothing is left to do."""
    if all(before == after for before, after in pads):
        return x, [before for before, _ in pads]
    return F.pad(x, [v for pair in reversed(pads) for v in pair], value=value), [0] * len(pads)
