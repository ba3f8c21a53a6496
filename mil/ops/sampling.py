"""Crops of images, and images read at computed points.

Points come as (x, y) for each output pixel. They are computed in float32, as MIL's text has them; how Core ML rounds
half-precision points is not documented.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from qlot.mil.ops.resize import SamplingMode, sampling_points
from qlot.mil.registry import computes, moves

Boxes = Literal["CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST"]


@moves("crop")
def _crop(x: Tensor, *, crop_height: Sequence[int], crop_width: Sequence[int]) -> Tensor:
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@computes("crop_resize")
def _crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    *,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: Boxes = "CORNERS_HEIGHT_FIRST",
    sampling_mode: SamplingMode = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Boxes of (N, 4) with the image of each (since iOS 17), or a `roi` of (N, 1, 4 or 5, 1, 1) for all of them.

    A sample outside the image is `pad_value`, as in TensorFlow's crop_and_resize.
    """
    if boxes is not None:
        which = torch.arange(len(boxes)) if box_indices is None else box_indices.long()
        return _crops(
            x[which], _corners(boxes.float(), box_coordinate_mode), target_height, target_width,
            normalized_coordinates, spatial_scale, sampling_mode, pad_value,
        )  # fmt: skip
    if roi is None:
        raise ValueError("neither boxes nor a roi")
    rows = roi.float().reshape(len(roi), -1)
    corners = _corners(rows[:, -4:], box_coordinate_mode)
    one_each = rows.shape[1] == 5  # the first says which image
    images = x[rows[:, 0].long()][:, None] if one_each else x[None].expand(len(rows), *x.shape)
    count = images.shape[1]
    y = _crops(
        images.flatten(0, 1), corners.repeat_interleave(count, 0), target_height, target_width,
        normalized_coordinates, spatial_scale, sampling_mode, pad_value,
    )  # fmt: skip
    return y.unflatten(0, (len(rows), count))


@computes("affine")
def _affine(
    x: Tensor,
    transform_matrix: Tensor,
    *,
    output_height: int,
    output_width: int,
    sampling_mode: Literal["bilinear"] = "bilinear",
    padding_mode: Literal["constant"] = "constant",
    padding_value: float = 0.0,
    coordinates_mode: Literal["normalized_minus_one_to_one"] = "normalized_minus_one_to_one",
    align_corners: Literal[True] = True,
) -> Tensor:
    matrix = transform_matrix.reshape(-1, 2, 3).expand(len(x), 2, 3)
    across = torch.linspace(-1, 1, output_width).expand(output_height, output_width)
    down = torch.linspace(-1, 1, output_height)[:, None].expand(output_height, output_width)
    grid = torch.stack([across, down, torch.ones_like(across)], -1)  # (H, W, 3)
    points = torch.einsum("hwk,bik->bhwi", grid, matrix)
    return _read(x, _unnormalised(points, x, align=True), "bilinear", padding_mode, padding_value)


@computes("resample")
def _resample(
    x: Tensor,
    coordinates: Tensor,
    *,
    sampling_mode: Literal["bilinear", "nearest"],
    padding_mode: Literal["constant", "border", "reflection", "symmetric"],
    padding_value: float,
    coordinates_mode: Literal["unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"],
    align_corners: bool,
) -> Tensor:
    points = coordinates.float()
    if coordinates_mode == "normalized_zero_to_one":
        points = 2 * points - 1
    if coordinates_mode != "unnormalized":
        points = _unnormalised(points, x, align_corners)
    return _read(x, points, sampling_mode, padding_mode, padding_value)


def _corners(boxes: Tensor, mode: str) -> Tensor:
    """Return (N, 4) as top, left, bottom, right."""
    if mode.endswith("WIDTH_FIRST"):
        boxes = boxes[:, [1, 0, 3, 2]]
    if mode.startswith("CORNERS"):
        return boxes
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], 1)


def _crops(
    x: Tensor, corners: Tensor, height: int, width: int, normalised: bool, scale: float, mode: str, pad_value: float
) -> Tensor:
    """Read one box of each image; `corners` as of `_corners`."""
    sizes = torch.tensor([x.shape[-2], x.shape[-1]], dtype=torch.float32)
    corners = corners * scale * ((sizes - 1).repeat(2) if normalised else 1)
    down = _along(corners[:, 0], corners[:, 2], height, mode)
    across = _along(corners[:, 1], corners[:, 3], width, mode)
    points = torch.stack([across[:, None, :].expand(-1, height, -1), down[:, :, None].expand(-1, -1, width)], -1)
    # The whole sample is padding where its point is outside, not the part of it that is.
    inside = (points >= 0).all(-1) & (points <= sizes.flip(0) - 1).all(-1)
    y = _read(x, points, "bilinear", "border", 0.0)
    return torch.where(inside[:, None], y, pad_value)


def _along(start: Tensor, end: Tensor, count: int, mode: str) -> Tensor:
    """Return (N, count): `sampling_points` among the pixels from start to end, both of them included."""
    span = (end - start)[:, None]
    at = sampling_points(span.abs() + 1, count, mode)
    return start[:, None] + span.sign() * torch.minimum(at.clamp(min=0), span.abs())


def _unnormalised(points: Tensor, x: Tensor, align: bool) -> Tensor:
    """Turn -1..1 into pixels: the centres of the outermost ones are the ends (`align`), or their outer edges."""
    sizes = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float32)
    return (points + 1) / 2 * (sizes - 1) if align else ((points + 1) * sizes - 1) / 2


def _read(x: Tensor, points: Tensor, sampling: str, padding: str, value: float) -> Tensor:
    """Read images (B, C, H, W) at points (B, h, w, 2) in pixels."""
    sizes = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float32)
    if padding == "border":
        points = torch.minimum(points.clamp(min=0), sizes - 1)
    elif padding == "reflection":
        points = _reflected(points, torch.zeros(2), sizes - 1)
    elif padding == "symmetric":
        points = torch.minimum(_reflected(points, torch.full((2,), -0.5), sizes - 0.5).clamp(min=0), sizes - 1)
    if sampling == "nearest":
        return _pixel(x, points.round().long(), value)  # halves to even, as PyTorch's
    low = points.floor()
    share = (points - low)[:, None]
    across, down = share[..., 0], share[..., 1]
    at = low.long()
    corner = [[_pixel(x, at + torch.tensor([i, j]), value) for i in (0, 1)] for j in (0, 1)]
    rows = [left * (1 - across) + right * across for left, right in corner]
    return rows[0] * (1 - down) + rows[1] * down


def _pixel(x: Tensor, at: Tensor, value: float) -> Tensor:
    """Return (B, C, h, w): pixels at whole points (B, h, w, 2); `value` outside."""
    height, width = x.shape[-2:]
    across, down = at[..., 0], at[..., 1]
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    flat = down.clamp(0, height - 1) * width + across.clamp(0, width - 1)
    picked = x.flatten(2).gather(2, flat.flatten(1)[:, None].expand(-1, x.shape[1], -1))
    return torch.where(inside[:, None], picked.unflatten(2, flat.shape[1:]), value)


def _reflected(points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Fold points into low..high at both ends."""
    span = (high - low).clamp(min=1e-9)
    folded = (points - low).remainder(2 * span)
    return low + torch.where(folded > span, 2 * span - folded, folded)
