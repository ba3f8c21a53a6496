"""Slices, as in numpy, whose rules MIL's are; and what makes or finds indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
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
    return torch.from_numpy(np.array(x.numpy()[slices]))  # PyTorch has no negative steps


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
    y.numpy()[_slices(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)] = update.numpy()
    return y


@moves("slice_by_size")
def _slice_by_size(x: Tensor, *, begin: Sequence[int], size: Sequence[int]) -> Tensor:
    starts = [b % n if n else 0 for b, n in zip(begin, x.shape, strict=True)]
    stops = [None if s == -1 else b + s for b, s in zip(starts, size, strict=True)]
    return x[tuple(slice(b, e) for b, e in zip(starts, stops, strict=True))]


@moves("sliding_windows")
def _sliding_windows(x: Tensor, *, axis: int, size: int, stride: int = 1) -> Tensor:
    axis %= x.ndim
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


@moves("one_hot")
def _one_hot(
    indices: Tensor, *, one_hot_vector_size: int, axis: int = -1, on_value: float = 1, off_value: float = 0
) -> Tensor:
    hits = indices.long().unsqueeze(axis % (indices.ndim + 1))
    shape = [1] * hits.ndim
    shape[axis] = one_hot_vector_size
    return torch.where(hits == torch.arange(one_hot_vector_size).reshape(shape), on_value, off_value)


@moves("non_zero")
def _non_zero(x: Tensor) -> Tensor:
    return x.nonzero()


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
