"""Shapes and layout: nothing is computed, elements only move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from qlot.mil.registry import moves


@moves("identity")
def _identity(x: Tensor) -> Tensor:
    return x


@moves("reshape")
def _reshape(x: Tensor, *, shape: Sequence[int]) -> Tensor:
    return x.reshape(_filled(x, shape))


@moves("reshape_like")
def _reshape_like(
    x: Tensor,
    ref_tensors: tuple[Tensor, ...],
    *,
    begins: Sequence[int],
    ends: Sequence[int],
    end_masks: Sequence[bool],
) -> Tensor:
    sizes: list[int] = []
    for tensor, begin, end, to_end in zip(ref_tensors, begins, ends, end_masks, strict=True):
        sizes += tensor.shape[begin : None if to_end else end]
    return x.reshape(sizes)


@moves("expand_dims")
def _expand_dims(x: Tensor, *, axes: Sequence[int]) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@moves("squeeze")
def _squeeze(x: Tensor, *, axes: Sequence[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@moves("flatten2d")
def _flatten2d(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis % x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


@moves("transpose")
def _transpose(x: Tensor, *, perm: Sequence[int]) -> Tensor:
    return x.permute(list(perm))


@moves("reverse")
def _reverse(x: Tensor, *, axes: Sequence[int] | None = None) -> Tensor:
    return x.flip(list(axes) if axes is not None else list(range(x.ndim)))


@moves("reverse_sequence")
def _reverse_sequence(x: Tensor, lengths: Tensor, *, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """Turn round the first `lengths[i]` elements along one axis, i counting along the other."""
    seq_axis, batch_axis = seq_axis % x.ndim, batch_axis % x.ndim
    index = torch.arange(x.shape[seq_axis])
    ends = lengths.long()[:, None]
    sources = torch.where(index < ends, ends - 1 - index, index)  # (batch, steps)
    shape = [x.shape[a] if a in (seq_axis, batch_axis) else 1 for a in range(x.ndim)]
    sources = sources if batch_axis < seq_axis else sources.T
    return x.gather(seq_axis, sources.reshape(shape).expand(x.shape))


@moves("concat")
def _concat(values: tuple[Tensor, ...], *, axis: int, interleave: bool = False) -> Tensor:
    if values[0].ndim == 0:
        return torch.stack(values)
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].ndim
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


@moves("stack")
def _stack(values: tuple[Tensor, ...], *, axis: int) -> Tensor:
    return torch.stack(values, axis)


@moves("split")
def _split(
    x: Tensor, *, axis: int, num_splits: int | None = None, split_sizes: Sequence[int] | None = None
) -> tuple[Tensor, ...]:
    if split_sizes is not None:
        return torch.split(x, list(split_sizes), axis)
    return torch.split(x, x.shape[axis] // int(num_splits or 1), axis)


@moves("tile")
def _tile(x: Tensor, *, reps: Sequence[int]) -> Tensor:
    return x.repeat(list(reps))


@moves("pad")
def _pad(
    x: Tensor,
    *,
    pad: Sequence[int],
    mode: Literal["constant", "reflect", "replicate"] = "constant",
    constant_val: float = 0.0,
) -> Tensor:
    pairs = list(zip(pad[::2], pad[1::2], strict=True))  # of the last axes, outermost first
    if mode == "constant":
        return F.pad(x, [v for pair in reversed(pairs) for v in pair], value=constant_val)
    numpy_mode = {"reflect": "reflect", "replicate": "edge"}[mode]
    for axis, (before, after) in enumerate(pairs, x.ndim - len(pairs)):
        if before or after:
            source = np.pad(np.arange(x.shape[axis]), (before, after), mode=numpy_mode)  # type: ignore[call-overload]
            x = x.index_select(axis, torch.from_numpy(source))
    return x


@moves("shape")
def _shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape)


@moves("fill")
def _fill(*, shape: Sequence[int], value: float = 0.0) -> Tensor:
    return torch.full(list(shape), value)


@moves("fill_like")
def _fill_like(ref_tensor: Tensor, *, value: float = 0.0) -> Tensor:
    return torch.full(ref_tensor.shape, value)


@moves("range_1d")
def _range_1d(*, start: float, end: float, step: float) -> Tensor:
    return torch.arange(start, end, step)


@moves("band_part")
def _band_part(x: Tensor, *, lower: int = -1, upper: int = -1) -> Tensor:
    x = x if lower < 0 else x.triu(-lower)
    return x if upper < 0 else x.tril(upper)


def _filled(x: Tensor, shape: Sequence[int]) -> list[int]:
    """Replace zeros by the sizes of x, counted from the right (iOS 17; of the same rank in iOS 15); 1 beyond them."""
    offset = x.ndim - len(shape)
    return [s or (x.shape[i + offset] if i + offset >= 0 else 1) for i, s in enumerate(shape)]
