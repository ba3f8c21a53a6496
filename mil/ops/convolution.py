"""Convolutions over one to three spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from qlot.mil.ops.windows import Each, PadType, each, padded, padding
from qlot.mil.registry import computes

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@computes("conv")
def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Each = None,
    pad_type: PadType = "valid",
    pad: Each = None,
    dilations: Each = None,
    groups: int = 1,
) -> Tensor:
    axes = x.ndim - 2
    pads = padding(pad_type, pad, x.shape[2:], weight.shape[2:], strides, dilations)
    even = all(before == after >= 0 for before, after in pads)
    x = x if even else padded(x, pads)
    rest = [before for before, _ in pads] if even else [0] * axes
    return _CONV[axes](x, weight, bias, each(strides, axes), rest, each(dilations, axes), groups)


@computes("conv_transpose")
def _conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pad: Each = None,
    output_shape: Each = None,
    pad_type: Literal["valid", "same", "custom"] = "valid",
    strides: Each = None,
    dilations: Each = None,
    groups: int = 1,
) -> Tensor:
    """Everything that the inputs reach, cut to the size asked for.

    "same" is the gradient of a convolution that pads "same", as in TensorFlow: `size * stride` outputs, or those of
    `output_shape`; how Core ML cuts them is not documented beyond their number.
    """
    axes = x.ndim - 2
    steps, gaps = each(strides, axes), each(dilations, axes)
    whole = _TRANSPOSED[axes](x, weight, None, steps, groups=groups, dilation=gaps)
    if pad_type == "same":
        wanted = [n * s for n, s in zip(x.shape[2:], steps, strict=True)] if output_shape is None else output_shape[2:]
        pads = padding("same", None, wanted, weight.shape[2:], steps, gaps)
    else:
        pads = padding(pad_type, pad, x.shape[2:], weight.shape[2:])
        wanted = [n - b - a for n, (b, a) in zip(whole.shape[2:], pads, strict=True)]
        wanted = wanted if output_shape is None else output_shape[2:]
    # Rows past the last one that an input reaches hold nothing but the bias.
    ends = [(-b, b + n - have) for (b, _), n, have in zip(pads, wanted, whole.shape[2:], strict=True)]
    y = padded(whole, ends)
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)
