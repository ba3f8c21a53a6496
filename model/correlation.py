"""Correlation of landmark templates with the feature maps, looked up around the current position.

Two lowerings of one function, neither with grid_sample or an index computed in floats beyond a floor:

- dense: correlate the whole map once per frame, then sample it as T_y M T_x^T, a product with two small tent-weight
  matrices (bilinear sampling with border padding, as matrix products). For TFLite, CoreML and GPUs.
- windowed: gather only what the bilinear weights touch, by an integer index: of the finest level, feature pixels that
  are correlated there and then; of levels with 1x1 kernels, rows of a map that is correlated whole once per frame,
  which is cheap at their size. For ONNX on CPUs.

Level i has maps of width W, kernels R and W' = W - R + 1 valid positions. A normalised position x looks up the map at
u_j = x W/2 + (W' - 1)/2 + j for j = -2..2, each clamped to [0, W' - 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def correlation_map(features: Tensor, template: Tensor) -> Tensor:
    """Correlate a whole map. (B, C, H, W), (B, N, K, C/K, R, R) -> (B, N, K, H', W')."""
    return _map_by_head(features, template).transpose(1, 2)


def _map_by_head(features: Tensor, template: Tensor) -> Tensor:
    """As `correlation_map`, in the order the grouped convolution leaves it: (B, K, N, H', W')."""
    b, c, h, w = features.shape
    n, k, r = template.shape[1], template.shape[2], template.shape[-1]
    kernels = template.transpose(1, 2).reshape(b * k * n, c // k, r, r)
    maps = F.conv2d(features.reshape(1, b * c, h, w), kernels, groups=b * k)
    return maps.reshape(b, k, n, *maps.shape[-2:])


def lookup_dense(maps: Tensor, position: Tensor, kernel: int, window: int) -> Tensor:
    """Sample correlation maps. (B, N, K, H', W'), (B, N, 2) -> (B, N, K, window, window), last axis x."""
    size = maps.shape[-1]
    at = (position * ((size + kernel - 1) / 2) + (size - 1) / 2)[..., None] + _centred(window, position)
    across, down = _tents(at.clamp(0, size - 1), size).unbind(2)  # (B, N, window, W') along x and along y
    # The heads share their tents: side by side in one product per axis, they need no copies of them.
    x_done = (maps.flatten(2, 3) @ across.transpose(-1, -2)).unflatten(2, maps.shape[2:4])  # (B, N, K, H', window)
    both_done = down @ x_done.transpose(2, 3).flatten(3)  # (B, N, window, K * window)
    return both_done.unflatten(3, (maps.shape[2], window)).transpose(2, 3)


def windowed_level(features: Tensor, template: Tensor) -> Tensor:
    """Return what `lookup_windowed` takes of a level.

    (B, C, H, W), (B, N, K, C/K, R, R) -> the map (B, K, N, H, W) if R = 1, else one row per pixel (B, H * W, C).
    """
    if template.shape[-1] == 1:
        return _map_by_head(features, template)
    return features.flatten(2).transpose(1, 2)


def lookup_windowed(
    levels: Sequence[Tensor], templates: Sequence[Tensor], position: Tensor, window: int
) -> list[Tensor]:
    """Look up all levels at once, because their coordinates are the same arithmetic.

    Args:
        levels: as `windowed_level` makes them, H_i = W_i.
        templates: (B, N, K_i, C/K_i, R_i, R_i); a gathered level may have all C channels for every head.
        position: (B, N, 2) normalised.
        window: looked-up points per axis; every map has at least one more valid position.

    Returns:
        Per level (B, N, K_i, window, window), last axis x: what `lookup_dense` gives on the whole map.
    """
    widths = [x.shape[-1] if x.ndim == 5 else round(x.shape[1] ** 0.5) for x in levels]
    sizes = [w - t.shape[-1] + 1 for w, t in zip(widths, templates, strict=True)]
    reach = window + 1  # map pixels per axis that the tents touch
    scale, last = (position.new_tensor(v)[:, None] for v in ([w / 2 for w in widths], [s - 1.0 for s in sizes]))
    middle = position[:, :, None] * scale + last / 2  # (B, N, levels, 2)
    zero = torch.zeros_like(last)
    at = torch.minimum((middle[..., None] + _centred(window, position)).maximum(zero[..., None]), last[..., None])
    first = torch.minimum((middle - (window - 1) / 2).floor().maximum(zero), last - (reach - 1))
    down = _tents(at[:, :, :, 1] - first[:, :, :, 1:], reach)  # (B, N, levels, window, reach)

    # Only the floor is computed in floats (exact up to 2^11 even in fp16); the flat index is integer arithmetic.
    corners = first.to(torch.int64)
    across = [
        _tents(at[:, :, i, 0], w) if x.ndim == 5 else _tents(at[:, :, i, 0] - first[:, :, i, :1], reach)
        for i, (x, w) in enumerate(zip(levels, widths, strict=True))
    ]
    return [
        _sample_rows(x, corners[:, :, i, 1], down[:, :, i], across[i])
        if x.ndim == 5
        else _correlate_window(x, t, corners[:, :, i], down[:, :, i], across[i])
        for i, (x, t) in enumerate(zip(levels, templates, strict=True))
    ]


def block_diagonal(blocks: Tensor) -> Tensor:
    """Put K blocks on a diagonal, columns head-minor. (..., K, I, J) -> (..., K * I, J * K).

    The product with an identity lets an engine keep the compact form in the file and expand it once at load.
    """
    eye = torch.eye(blocks.shape[-3], dtype=blocks.dtype, device=blocks.device)[:, None, None]
    return (blocks[..., None] * eye).flatten(-2).flatten(-3, -2)


def _sample_rows(maps: Tensor, top: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Sample the map rows from `top` on.

    (B, K, N, H', W'), (B, N) integer, tents (B, N, window, reach) and (B, N, window, W') -> (B, N, K, window, window).
    """
    b, k, n, height, width = maps.shape
    window, reach = down.shape[-2:]
    starts = torch.arange(b * k * n, device=maps.device).reshape(b, k, n).permute(0, 2, 1)[:, :, None] * height
    index = top[..., None, None] + (starts + torch.arange(reach, device=maps.device)[:, None])  # (B, N, reach, K)
    rows = maps.reshape(-1, width).index_select(0, index.flatten())
    # y first: one product per landmark, with its heads side by side, leaves less for the wide one along x.
    y_done = down @ rows.reshape(b, n, reach, k * width)
    both_done = y_done.reshape(b, n, window * k, width) @ across.transpose(-1, -2)
    return both_done.reshape(b, n, window, k, window).transpose(2, 3)


def _correlate_window(rows: Tensor, template: Tensor, corner: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Gather feature pixels from `corner` on, correlate, and sample.

    (B, H * W, C), (B, N, K, C/K, R, R), (B, N, 2) integer, tents (B, N, window, reach) -> (B, N, K, window, window).
    """
    b, pixels, c = rows.shape
    width = round(pixels**0.5)
    n, k, r = template.shape[1], template.shape[2], template.shape[-1]
    window, reach = down.shape[-2:]
    patch = reach + r - 1  # feature pixels per axis under the map pixels
    step = torch.arange(patch, device=rows.device)
    offsets = (step[:, None] * width + step).flatten()
    index = (corner[..., 1:] * width + corner[..., :1]) + offsets  # (B, N, patch^2)
    if b == 1:
        seen = rows.index_select(1, index.flatten())
    else:
        batch = torch.arange(b, device=rows.device)[:, None, None] * pixels
        seen = rows.flatten(0, 1).index_select(0, (index + batch).flatten())
    taps = template.flatten(-2)  # (B, N, K, C/K or C, R^2)
    kernels = taps.permute(0, 1, 3, 4, 2).flatten(-2) if taps.shape[3] == c else block_diagonal(taps)
    partial = seen.reshape(b, n, patch * patch, c) @ kernels  # (B, N, patch^2, R^2 * K)
    products = partial.reshape(b, n, patch, patch, r * r * k).split(k, -1)  # one per tap, shifted onto each other:
    shifted = [p[:, :, t // r : t // r + reach, t % r : t % r + reach] for t, p in enumerate(products)]
    seen_maps = sum(shifted[1:], shifted[0])
    # T_y M T_x^T with the heads carried along: two products per landmark instead of two per landmark and head.
    rows_done = down @ seen_maps.reshape(b, n, reach, reach * k)
    columns = rows_done.reshape(b, n, window, reach, k).transpose(2, 3).reshape(b, n, reach, window * k)
    both_done = across @ columns  # (B, N, x, y * K)
    return both_done.reshape(b, n, window, window, k).permute(0, 1, 4, 3, 2)


def _centred(window: int, like: Tensor) -> Tensor:
    """Offsets of the looked-up points: -2 .. 2 for a window of 5."""
    return torch.arange(window, dtype=like.dtype, device=like.device) - (window - 1) / 2


def _tents(points: Tensor, count: int) -> Tensor:
    """Bilinear weights of pixels 0 .. count - 1. (..., J) -> (..., J, count)."""
    pixels = torch.arange(count, dtype=points.dtype, device=points.device)
    return (1 - (points[..., None] - pixels).abs()).clamp(min=0)
