"""Quantised activations. A convolution between dequantise and quantise computes on the dequantised values, in floats:
the int32 sums of an integer engine differ from that by float rounding only.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from qlot.mil.registry import computes

_RANGES: dict[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255)}


@computes("quantize")
def _quantize(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int | None = None,
    output_dtype: Literal["int8", "uint8"],
) -> Tensor:
    """clip(round(input / scale) + zero_point), halves to even."""
    levels = torch.round(input / _along(scale, input, axis))
    if zero_point is not None:
        levels = levels + _along(zero_point, input, axis)
    return levels.clamp(*_RANGES[output_dtype])


@computes("dequantize")
def _dequantize(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int | None = None,
) -> Tensor:
    """Scale * (input - zero_point)."""
    levels = input.float()
    if zero_point is not None:
        levels = levels - _along(zero_point, input, axis).float()
    return levels * _along(scale, input, axis)


def _along(vector: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """Lay a vector along an axis of x; a scalar stays one."""
    if vector.ndim == 0 or axis is None:
        return vector
    return vector.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
