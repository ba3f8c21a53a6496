"""Matrix products and attention: float32 sums, rounded once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from qlot.mil.registry import computes


@computes("linear")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


@computes("matmul")
def _matmul(x: Tensor, y: Tensor, *, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    left = x.transpose(-1, -2) if transpose_x and x.ndim > 1 else x
    right = y.transpose(-1, -2) if transpose_y and y.ndim > 1 else y
    return left @ right


@computes("einsum")
def _einsum(values: tuple[Tensor, ...], *, equation: str) -> Tensor:
    return torch.einsum(equation, *values)


@computes("softmax")
def _softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


@computes("scaled_dot_product_attention")
def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask)
