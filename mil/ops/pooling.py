"""Pooling over one to three spatial axes.

Maps are padded here, because PyTorch's operators take no padding above half a window, and none that is uneven.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from qlot.mil.ops.windows import Each, Pads, PadType, each, padded, padding
from qlot.mil.registry import computes

_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMUM: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@computes("max_pool")
def _max_pool(
    x: Tensor,
    *,
    kernel_sizes: Sequence[int],
    strides: Each = None,
    pad_type: PadType,
    pad: Each = None,
    ceil_mode: bool = False,
) -> Tensor:
    pads, steps, rest = _geometry(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    return _MAXIMUM[len(steps)](padded(padded(x, pads, -math.inf), rest, -math.inf), list(kernel_sizes), steps)


@computes("avg_pool")
def _avg_pool(
    x: Tensor,
    *,
    kernel_sizes: Sequence[int],
    strides: Each = None,
    pad_type: PadType,
    pad: Each = None,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Tensor:
    pads, steps, rest = _geometry(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    pool, kernel = _AVERAGE[len(steps)], list(kernel_sizes)
    mean = pool(padded(padded(x, pads), rest), kernel, steps)
    counted = padded(torch.ones_like(x[:1, :1]), pads, 0.0 if exclude_padding_from_average else 1.0)
    if not any(after for _, after in rest) and not (exclude_padding_from_average and any(b or a for b, a in pads)):
        return mean
    return mean / pool(padded(counted, rest), kernel, steps)


@computes("l2_pool")
def _l2_pool(
    x: Tensor,
    *,
    kernel_sizes: Sequence[int],
    strides: Each = None,
    pad_type: PadType,
    pad: Each = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Root of the sum of squares in each window."""
    pads, steps, rest = _geometry(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    mean = _AVERAGE[len(steps)](padded(padded(x.square(), pads), rest), list(kernel_sizes), steps)
    return (mean * math.prod(kernel_sizes)).sqrt()


def _geometry(
    x: Tensor, kernel: Sequence[int], strides: Each, pad_type: str, pad: Each, ceil_mode: bool
) -> tuple[Pads, list[int], Pads]:
    """Return the padding, the strides, and what a last window that `ceil_mode` adds reaches beyond the padding."""
    sizes = x.shape[2:]
    steps = each(strides, len(sizes))
    pads = padding(pad_type, pad, sizes, kernel, steps)
    rest: Pads = []
    for n, (before, after), k, s in zip(sizes, pads, kernel, steps, strict=True):
        left = (n + before + after - k) % s
        # A window that would start in the padding after the map is none.
        more = ceil_mode and left and (n + before + after - k) // s * s + s < n + before
        rest.append((0, s - left if more else 0))
    return pads, steps, rest
