"""Resizing of the last axes by separable interpolation, linear or to the nearest neighbour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from qlot.mil.registry import computes, moves

SamplingMode = Literal["DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS"]


@computes("upsample_bilinear")
def _upsample_bilinear(
    x: Tensor,
    *,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """With corners aligned, `half_pixel_centers` changes nothing, as in coremltools' tests."""
    half_pixel = not align_corners if half_pixel_centers is None else half_pixel_centers
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half_pixel else "DEFAULT"
    return _linear(x, _scaled(x, scale_factor_height, scale_factor_width), mode)


@computes("resize_bilinear")
def _resize_bilinear(
    x: Tensor, *, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: SamplingMode = "DEFAULT"
) -> Tensor:
    return _linear(x, [target_size_height, target_size_width], sampling_mode)


@computes("resize")
def _resize(
    x: Tensor,
    *,
    shape: Sequence[int],
    resized_dims: int,
    interpolation_mode: Literal["LINEAR", "NEAREST_NEIGHBOR"] = "LINEAR",
    sampling_mode: SamplingMode = "DEFAULT",
) -> Tensor:
    """Take for the nearest neighbour the sampling point, rounded, as in coremltools' one example (mode DEFAULT).

    Which of two equally near ones Core ML takes is not documented; here it is the higher one.
    """
    sizes = list(shape)[len(shape) - resized_dims :]
    sizes = [s or n for s, n in zip(sizes, x.shape[x.ndim - resized_dims :], strict=True)]
    if interpolation_mode == "LINEAR":
        return _linear(x, sizes, sampling_mode)
    return _picked(x, sizes, lambda before, after: (_points(before, after, sampling_mode) + 0.5).floor().long())


@moves("upsample_nearest_neighbor")
def _upsample_nearest(x: Tensor, *, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Tensor:
    """Pixel i comes from `i * before // after`, the ratio of the sizes.

    So it is in coremltools' tests of Core ML: 3 pixels by 1.12 stay the 3 they were. PyTorch divides by the factor as
    it was given, unless told to recompute it, and would take the first one twice.
    """
    return _picked(x, _scaled(x, scale_factor_height, scale_factor_width), _lower)


@moves("resize_nearest_neighbor")
def _resize_nearest(x: Tensor, *, target_size_height: int, target_size_width: int) -> Tensor:
    """As `upsample_nearest_neighbor`: coremltools calls them similar, and its test of it cannot tell."""
    return _picked(x, [target_size_height, target_size_width], _lower)


def sampling_points(before: Tensor, after: int, mode: str) -> Tensor:
    """Return where `after` samples lie among `before` pixels, in pixels, as MIL's text on resize_bilinear says.

    They are (..., after) for `before` of (..., 1), and may lie outside: the text clamps them to 0 .. before - 1.
    """
    index = torch.arange(after, dtype=before.dtype)
    if mode == "UNALIGN_CORNERS":
        return (index + 0.5) * (before / after) - 0.5
    if mode == "DEFAULT":
        return index * (before / after)
    if mode == "OFFSET_CORNERS":
        return (index + 0.5) * ((before - 1).clamp(min=1) / after)
    if after == 1:
        return index + ((before - 1) / 2 if mode == "ALIGN_CORNERS" else 0)
    return index * ((before - 1) / (after - 1))


def _points(before: int, after: int, mode: str) -> Tensor:
    return sampling_points(torch.tensor(before, dtype=torch.float64), after, mode).clamp(0, before - 1)


def _scaled(x: Tensor, height: float, width: float) -> list[int]:
    """Return the sizes that coremltools declares: products in float32, rounded down."""
    return [int(np.floor(np.float32(f) * np.float32(n))) for n, f in zip(x.shape[-2:], (height, width), strict=True)]


def _lower(before: int, after: int) -> Tensor:
    return torch.arange(after) * before // after


def _picked(x: Tensor, sizes: Sequence[int], rule: Callable[[int, int], Tensor]) -> Tensor:
    for axis, size in enumerate(sizes, x.ndim - len(sizes)):
        before = x.shape[axis]
        x = x.index_select(axis, rule(before, size))
    return x


def _linear(x: Tensor, sizes: Sequence[int], mode: str) -> Tensor:
    for axis, size in enumerate(sizes, x.ndim - len(sizes)):
        before = x.shape[axis]
        at = _points(before, size, mode)
        low = at.floor().long().clamp(max=max(0, before - 2))
        high = (low + 1).clamp(max=before - 1)
        shape = [size if i == axis else 1 for i in range(x.ndim)]
        share = (at - low).to(x.dtype if x.is_floating_point() else torch.float32).reshape(shape)
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x
