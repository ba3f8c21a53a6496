"""Matrix products and attention: float32 sums, rounded once. Integers among floats become floats."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from qlot.mil.registry import computes


@computes("linear")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if bias is None:
        return F.linear(*_alike(x, weight))
    return F.linear(*_alike(x, weight, bias))


@computes("matmul")
def _matmul(x: Tensor, y: Tensor, *, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    left, right = _alike(x, y)
    left = left.transpose(-1, -2) if transpose_x and x.ndim > 1 else left
    right = right.transpose(-1, -2) if transpose_y and y.ndim > 1 else right
    return left @ right


@computes("einsum")
def _einsum(values: tuple[Tensor, ...], *, equation: str) -> Tensor:
    return torch.einsum(equation, *_alike(*values))


@computes("softmax")
def _softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


@computes("scaled_dot_product_attention")
def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask)


def _alike(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors in the dtype that all of them have a place in, as PyTorch's sums do by themselves."""
    common = functools.reduce(torch.promote_types, (t.dtype for t in tensors))
    return tuple(t.to(common) for t in tensors)
