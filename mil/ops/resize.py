"""Resampling of the last axes by separable linear interpolation, and by nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qlot.mil.registry import computes, moves


@computes("upsample_bilinear")
def _upsample_bilinear(
    x: Tensor,
    *,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    half_pixel = not align_corners if half_pixel_centers is None else half_pixel_centers
    if align_corners and half_pixel:
        raise NotImplementedError("align_corners together with half_pixel_centers")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half_pixel else "DEFAULT"
    sizes = _scaled(x, scale_factor_height, scale_factor_width)
    return _linear(x, sizes, mode)


@computes("resize_bilinear")
def _resize_bilinear(
    x: Tensor, *, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    return _linear(x, [target_size_height, target_size_width], sampling_mode)


@computes("resize")
def _resize(
    x: Tensor,
    *,
    shape: Sequence[int],
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    if interpolation_mode != "LINEAR":
        raise NotImplementedError(f"interpolation_mode {interpolation_mode!r}")
    sizes = list(shape)[len(shape) - resized_dims :]
    return _linear(x, [s or n for s, n in zip(sizes, x.shape[x.ndim - resized_dims :], strict=True)], sampling_mode)


@moves("upsample_nearest_neighbor")
def _upsample_nearest(x: Tensor, *, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Tensor:
    return _nearest(x, _scaled(x, scale_factor_height, scale_factor_width))


@moves("resize_nearest_neighbor")
def _resize_nearest(x: Tensor, *, target_size_height: int, target_size_width: int) -> Tensor:
    return _nearest(x, [target_size_height, target_size_width])


def _scaled(x: Tensor, height: float, width: float) -> list[int]:
    return [math.floor(x.shape[-2] * height), math.floor(x.shape[-1] * width)]


def _nearest(x: Tensor, sizes: Sequence[int]) -> Tensor:
    for axis, size in enumerate(sizes, x.ndim - len(sizes)):
        x = x.index_select(axis, torch.arange(size) * x.shape[axis] // size)
    return x


def _linear(x: Tensor, sizes: Sequence[int], mode: str) -> Tensor:
    """Resample the last axes to `sizes`; the formulas of the sampling points are in MIL's text on resize_bilinear."""
    for axis, size in enumerate(sizes, x.ndim - len(sizes)):
        before = x.shape[axis]
        at = _points(before, size, mode).clamp(0, before - 1)
        low = at.floor().long().clamp(max=max(0, before - 2))
        high = (low + 1).clamp(max=before - 1)
        shape = [size if i == axis else 1 for i in range(x.ndim)]
        share = (at - low).to(x.dtype if x.is_floating_point() else torch.float32).reshape(shape)
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x


def _points(before: int, after: int, mode: str) -> Tensor:
    index = torch.arange(after, dtype=torch.float64)
    if mode == "UNALIGN_CORNERS":
        return (index + 0.5) * (before / after) - 0.5
    if mode == "DEFAULT":
        return index * (before / after)
    if mode == "OFFSET_CORNERS":
        return (index + 0.5) * (max(1, before - 1) / after)
    if mode not in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        raise NotImplementedError(f"sampling_mode {mode!r}")
    if after == 1:
        return index + ((before - 1) / 2 if mode == "ALIGN_CORNERS" else 0)
    return index * ((before - 1) / (after - 1))
