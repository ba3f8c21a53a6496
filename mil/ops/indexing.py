"""Slices, gathers and what builds on indices. An index out of range is an error, never undefined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qlot.mil.registry import moves

Mask = Sequence[bool] | None


@moves("slice_by_index")
def _slice_by_index(
    x: Tensor,
    *,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Mask = None,
    end_mask: Mask = None,
    squeeze_mask: Mask = None,
) -> Tensor:
    slices = _slices(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    if all(isinstance(s, int) or s.step is None or s.step > 0 for s in slices):
        return x[slices]
    for axis, s in enumerate(slices):  # PyTorch has no negative steps
        picked = [s] if isinstance(s, int) else list(range(*s.indices(x.shape[axis])))
        x = x.index_select(axis, torch.tensor(picked, dtype=torch.long))
    return x.squeeze(tuple(i for i, s in enumerate(slices) if isinstance(s, int)))


@moves("slice_update")
def _slice_update(
    x: Tensor,
    update: Tensor,
    *,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Mask = None,
    end_mask: Mask = None,
    squeeze_mask: Mask = None,
) -> Tensor:
    y = x.clone()
    y[_slices(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)] = update
    return y


@moves("slice_by_size")
def _slice_by_size(x: Tensor, *, begin: Sequence[int], size: Sequence[int]) -> Tensor:
    starts = [b % n for b, n in zip(begin, x.shape, strict=True)]
    stops = [None if s == -1 else b + s for b, s in zip(starts, size, strict=True)]
    return x[tuple(slice(b, e) for b, e in zip(starts, stops, strict=True))]


@moves("gather")
def _gather(
    x: Tensor, indices: Tensor, *, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False
) -> Tensor:
    axis %= x.ndim
    if batch_dims:
        each = [_gather(a, i, axis=axis - 1, batch_dims=batch_dims - 1) for a, i in zip(x, indices, strict=True)]
        return torch.stack(each)
    picked = x.index_select(axis, _positive(indices, x.shape[axis]).flatten())
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@moves("gather_along_axis")
def _gather_along_axis(x: Tensor, indices: Tensor, *, axis: int = 0, validate_indices: bool = False) -> Tensor:
    axis %= x.ndim
    # MIL broadcasts the other axes of x to those of the indices; PyTorch would cut them.
    shape = [n if i == axis else m for i, (n, m) in enumerate(zip(x.shape, indices.shape, strict=True))]
    return x.expand(shape).gather(axis, _positive(indices, x.shape[axis]))


@moves("gather_nd")
def _gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    if batch_dims:
        return torch.stack([_gather_nd(a, i, batch_dims=batch_dims - 1) for a, i in zip(x, indices, strict=True)])
    return x[tuple(indices.long().unbind(-1))]


@moves("one_hot")
def _one_hot(
    indices: Tensor, *, one_hot_vector_size: int, axis: int = -1, on_value: float = 1, off_value: float = 0
) -> Tensor:
    hits = indices.long().unsqueeze(axis % (indices.ndim + 1))
    shape = [1] * hits.ndim
    shape[axis] = one_hot_vector_size
    return torch.where(hits == torch.arange(one_hot_vector_size).reshape(shape), on_value, off_value)


def _positive(indices: Tensor, size: int) -> Tensor:
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


def _slices(
    x: Tensor,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None,
    begin_mask: Mask,
    end_mask: Mask,
    squeeze_mask: Mask,
) -> tuple[Any, ...]:
    """Return an int (squeezed) or a slice per axis, with numpy's meaning of negative values."""
    none = [False] * x.ndim
    return tuple(
        b if squeeze else slice(None if from_start else b, None if to_end else e, s)
        for b, e, s, from_start, to_end, squeeze in zip(
            begin,
            end,
            stride or [1] * x.ndim,
            begin_mask or none,
            end_mask or none,
            squeeze_mask or none,
            strict=True,
        )
    )
