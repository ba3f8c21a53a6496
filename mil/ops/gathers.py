"""Gathers and scatters. An index out of range is an error, never undefined.

Negative indices count from the end, also since iOS 17, which leaves their meaning open unless `validate_indices`
refuses them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from qlot.mil.registry import computes, moves

Mode = Literal["update", "add", "sub", "mul", "div", "max", "min"]
Places = tuple[Tensor, ...]  # an index tensor for each of the first axes


@moves("gather")
def _gather(
    x: Tensor, indices: Tensor, *, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False
) -> Tensor:
    axis %= x.ndim
    if batch_dims:
        options = {"batch_dims": batch_dims - 1, "validate_indices": validate_indices}
        return _batched(_gather, x, indices, axis=axis - 1, **options)
    picked = x.index_select(axis, _positive(indices, x.shape[axis], validate_indices).flatten())
    return picked.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@moves("gather_along_axis")
def _gather_along_axis(x: Tensor, indices: Tensor, *, axis: int = 0, validate_indices: bool = False) -> Tensor:
    axis %= x.ndim
    # MIL broadcasts the other axes of x to those of the indices; PyTorch would cut them.
    shape = [n if i == axis else m for i, (n, m) in enumerate(zip(x.shape, indices.shape, strict=True))]
    return x.expand(shape).gather(axis, _positive(indices, x.shape[axis], validate_indices))


@moves("gather_nd")
def _gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    if batch_dims:
        return _batched(_gather_nd, x, indices, batch_dims=batch_dims - 1, validate_indices=validate_indices)
    return x[_placed(_nd(indices), x, validate_indices)]


@computes("scatter")
def _scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    mode: Mode = "add",
    validate_indices: bool = False,
) -> Tensor:
    axis %= data.ndim
    # `updates` has the axes of `indices` in place of the one axis.
    lined = updates.reshape((*data.shape[:axis], indices.numel(), *data.shape[axis + 1 :])).movedim(axis, 0)
    moved = _written(data.movedim(axis, 0), (indices.flatten().long(),), lined, mode, validate_indices)
    return moved.movedim(0, axis)


@computes("scatter_along_axis")
def _scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    mode: Mode = "add",
    validate_indices: bool = False,
) -> Tensor:
    axis %= data.ndim
    own = [
        torch.arange(n).reshape([-1 if i == a else 1 for i in range(data.ndim)]) for a, n in enumerate(indices.shape)
    ]
    own[axis] = indices.long()
    return _written(data, torch.broadcast_tensors(*own), updates, mode, validate_indices)


@computes("scatter_nd")
def _scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, *, mode: Mode = "add", validate_indices: bool = False
) -> Tensor:
    return _written(data, _nd(indices), updates, mode, validate_indices)


def _batched(gather: Callable[..., Tensor], x: Tensor, indices: Tensor, **options: Any) -> Tensor:
    """Gather in each row of the first axis apart."""
    return torch.stack([gather(a, i, **options) for a, i in zip(x, indices, strict=True)])


def _nd(indices: Tensor) -> Places:
    return indices.long().unbind(-1)


def _positive(indices: Tensor, size: int, strict: bool) -> Tensor:
    """Return indices counted from the start; `strict`: as they must be already."""
    indices = indices.long()
    if indices.numel():
        low, high = int(indices.min()), int(indices.max())
        if not (0 if strict else -size) <= low <= high < size:
            raise IndexError(f"an index is out of range: {low} to {high}, of {size}")
    return torch.where(indices < 0, indices + size, indices)


def _placed(places: Places, data: Tensor, strict: bool) -> Places:
    return tuple(_positive(p, n, strict) for p, n in zip(places, data.shape, strict=False))


def _written(data: Tensor, places: Places, updates: Tensor, mode: str, strict: bool) -> Tensor:
    """Return `data` with updates at places; those that meet at one place count one after the other.

    Integer division rounds down; of several "update"s of one place the last one stays.
    """
    places = _placed(places, data, strict)
    y = data.clone(memory_format=torch.contiguous_format)
    updates = updates.to(y.dtype)
    if mode in ("add", "sub"):
        return y.index_put_(places, updates if mode == "add" else -updates, accumulate=True)
    # As rows: (places, what lies behind each).
    count = places[0].numel() if places else 1
    rows = y.reshape((-1, *data.shape[len(places) :]))
    flat = torch.zeros(count, dtype=torch.long)
    for place, size in zip(places, data.shape, strict=False):
        flat = flat * size + place.flatten()
    combine, updates = _COMBINE[mode], updates.reshape((count, *data.shape[len(places) :]))
    if len(flat.unique()) == count:
        rows[flat] = combine(rows[flat], updates)
    else:  # the order counts
        for row, update in zip(flat.tolist(), updates, strict=True):
            rows[row] = combine(rows[row], update)
    return rows.reshape(data.shape)


_COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "update": lambda old, new: new,
    "mul": torch.mul,
    "div": lambda old, new: old / new if old.is_floating_point() else torch.floor_divide(old, new),
    "max": torch.maximum,
    "min": torch.minimum,
}
