"""Correlation of landmark templates with the feature maps, looked up around the current position.

Two lowerings of one function, neither with grid_sample or an index computed in floats beyond a floor:

- dense: correlate the whole map once per frame, then sample it as T_y M T_x^T, a product with two small tent-weight
  matrices (bilinear sampling with border padding, as matrix products). For TFLite, CoreML and GPUs.
- windowed: gather the few map pixels that the bilinear weights touch by an integer index, then interpolate between
  neighbours. Levels with 1x1 kernels are correlated whole once per frame, which is cheap at their size; of the others,
  feature pixels are gathered and correlated there and then. For ONNX on CPUs.

Level i has maps of width W, kernels R and W' = W - R + 1 valid positions. A normalised position x looks up the map at
u_j = x W/2 + (W' - 1)/2 + j for j = -2..2, each clamped to [0, W' - 1]. All u_j lie equally far between their two
pixels; clamping the pixels instead of u_j gives the same value, because beyond the border both are its last pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

FAR = 4.0  # normalised: a window there lies beyond the border whole, so clamping positions to it changes nothing


def correlation_map(features: Tensor, template: Tensor) -> Tensor:
    """Correlate a whole map. (B, C, H, W), (B, N, K, C/K, R, R) -> (B, N, H', K, W'): heads side by side in a row.

    Where R = 1 this is a product per head, with landmarks before pixels as lookups need them: an engine that convolves
    with channels last would have to turn its result, the largest tensor of a frame, value by value.
    """
    b, n, k = template.shape[:3]
    if template.shape[-1] == 1:
        kernels = template.flatten(3).transpose(1, 2)  # (B, K, N, C/K)
        maps = (kernels @ features.flatten(2).unflatten(1, (k, -1))).unflatten(-1, features.shape[-2:])
    else:
        maps = _maps_by_head(features, template)
        maps = maps.reshape(b, k, n, *maps.shape[-2:])
    return maps.permute(0, 2, 3, 1, 4)


def _maps_by_head(features: Tensor, template: Tensor) -> Tensor:
    """Correlate a whole map in the order that a grouped convolution leaves: (1, B * K * N, H', W')."""
    b, c, h, w = features.shape
    n, k, r = template.shape[1], template.shape[2], template.shape[-1]
    kernels = template.transpose(1, 2).reshape(b * k * n, c // k, r, r)
    return F.conv2d(features.reshape(1, b * c, h, w), kernels, groups=b * k)


def lookup_dense(maps: Tensor, position: Tensor, kernel: int, window: int, size: float = 2.0) -> Tensor:
    """Sample correlation maps around positions, which are counted from the image's centre.

    Rows first: one product with the rows of all heads side by side, and what it leaves is in order for the columns.

    Args:
        maps: (B, N, H', K, W'), H' = W'.
        position: (B, N, 2).
        kernel: R, of the templates.
        window: looked-up points per axis.
        size: of the image in the units of the positions; normalised coordinates make it 2.

    Returns:
        (B, N, window, K, window): y, head, x.
    """
    heads, width = maps.shape[3:]
    at = position[..., None] * ((width + kernel - 1) / size) + (_centred(window, position) + (width - 1) / 2)
    x, y = at.clamp(0, width - 1).unbind(2)  # (B, N, window)
    pixels = torch.arange(width, dtype=at.dtype, device=at.device)
    rows = _tents(y[..., None], pixels) @ maps.flatten(3)  # (B, N, window, K * W')
    across = _tents(x[..., None, :], pixels[:, None])  # (B, N, W', window)
    return (rows.reshape(*rows.shape[:2], -1, width) @ across).unflatten(2, (window, heads))


def windowed_level(features: Tensor, template: Tensor) -> Tensor:
    """Return what `lookup_windowed` takes of a level.

    (B, C, H, W), (B, N, K, C/K, R, R) -> the maps (B, K * N, H, W) if R = 1, else one row per pixel (B, H * W, C).
    """
    if template.shape[-1] > 1:
        return features.flatten(2).transpose(1, 2)
    maps = _maps_by_head(features, template)
    return maps if len(features) == 1 else maps.unflatten(1, (len(features), -1))[0]


def lookup_windowed(
    levels: Sequence[Tensor], templates: Sequence[Tensor], points: Tensor, window: int, size: float = 2.0
) -> Tensor:
    """Look up all heads of all levels at once: the same arithmetic for all, over long rows of landmarks.

    Args:
        levels: as `windowed_level` makes them, H_i = W_i.
        templates: (B, N, K_i, C/K_i, R_i, R_i); a gathered level may have all C channels for every head.
        points: (2, B * N) x and y from the image's centre.
        window: looked-up points per axis; every map has at least one more valid position.
        size: of the image in the units of the points; normalised coordinates make it 2.

    Returns:
        (K, window, window, B * N), K the heads of all levels, x before the landmarks: the numbers of `lookup_dense`.
    """
    forms = [_Form.of(x, t) for x, t in zip(levels, templates, strict=True)]
    reach, far = window + 1, FAR * size / 2  # reach: map pixels per axis that the bilinear weights touch
    scale = _per_level(points, [f.width / size for f in forms])
    start = _per_level(points, [(f.last - window + 1) / 2 for f in forms])
    at = points.clamp(-far, far)[:, None] * scale + start  # (levels, 2, 1, B * N): u_j of the first j
    floor = at.floor()

    # Only the floor is computed in floats (exact up to 2^11 even in fp16); all further is integer arithmetic.
    first = floor.to(torch.int32)
    pixels = first + torch.arange(reach, dtype=first.dtype, device=first.device)[:, None]
    pixels = torch.minimum(pixels.clamp(min=0), _per_level(first, [f.last for f in forms]))
    sources = list(levels)
    if any(f.gathered for f in forms):  # of these levels there are only windows, from a corner on
        room = _per_level(first, [f.gathered * (f.last - window) for f in forms])
        corners = torch.minimum(first.clamp(min=0), room)
        pixels = pixels - corners
        sources = [
            _window_maps(x, t, corners[i, :, 0], reach) if f.gathered else x
            for i, (f, x, t) in enumerate(zip(forms, levels, templates, strict=True))
        ]
    index = _flat_index(forms, pixels, templates[0].shape[1])
    values = [x.flatten().index_select(0, i) for x, i in zip(sources, index, strict=True)]
    seen = torch.cat(values).reshape(-1, reach, reach, points.shape[-1])
    along_x, along_y = _by_head(forms, at - floor).chunk(2, 1)  # the same for all points of a window
    return _between(_between(seen, along_y, 1), along_x, 2)


def block_diagonal(blocks: Tensor) -> Tensor:
    """Put K blocks on a diagonal. (..., K, I, J) -> (..., K * I, K * J).

    The product with an identity lets an engine keep the compact form in the file and expand it once at load.
    """
    eye = torch.eye(blocks.shape[-3], dtype=blocks.dtype, device=blocks.device)[:, None, :, None]
    return (blocks[..., None, :] * eye).flatten(-2).flatten(-3, -2)


class _Form(NamedTuple):
    """How a level is laid out for lookups."""

    heads: int
    width: int
    last: int  # W' - 1
    gathered: bool

    @classmethod
    def of(cls, level: Tensor, template: Tensor) -> _Form:
        gathered = level.ndim == 3
        width = round(level.shape[1] ** 0.5) if gathered else level.shape[-1]
        return cls(template.shape[2], width, width - template.shape[-1], gathered)


def _per_level(like: Tensor, values: Sequence[float]) -> Tensor:
    """Return one constant per level, (levels, 1, 1, 1)."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None, None]


def _by_head(forms: Sequence[_Form], x: Tensor) -> Tensor:
    """Repeat what each level has for its heads. (levels, ...) -> (K, ...)."""
    level = torch.tensor([i for i, f in enumerate(forms) for _ in range(f.heads)], device=x.device)
    return x.index_select(0, level)


def _flat_index(forms: Sequence[_Form], pixels: Tensor, landmarks: int) -> tuple[Tensor, ...]:
    """Index into each flattened source. Pixels (levels, 2, reach, B * N) -> per level (K_i * reach^2 * B * N,)."""
    reach, points = pixels.shape[2:]
    starts = []
    for f in forms:
        if f.gathered:  # (B, N, reach, reach, K_i)
            start = torch.arange(points) * (reach**2 * f.heads) + torch.arange(f.heads)[:, None]
        else:  # (B, K_i * N, H, W)
            planes = torch.arange(f.heads * points).reshape(-1, f.heads, landmarks)
            start = planes.transpose(0, 1).reshape(f.heads, points) * f.width**2
        starts.append(start)
    strides = [(f.heads, reach * f.heads) if f.gathered else (1, f.width) for f in forms]
    steps = pixels * torch.tensor(strides).to(pixels)[:, :, None, None]
    x, y = _by_head(forms, steps).chunk(2, 1)  # (K, 1, reach, B * N)
    rows = (y + torch.cat(starts).to(pixels)[:, None, None]).transpose(1, 2)
    return (rows + x).flatten().split([f.heads * reach**2 * points for f in forms])


def _window_maps(rows: Tensor, template: Tensor, corner: Tensor, reach: int) -> Tensor:
    """Gather the feature pixels under a window of map pixels and correlate them.

    (B, H * W, C), (B, N, K, C/K or C, R, R), corner x and y (2, B * N) integer -> (B, N, reach, reach, K).
    """
    b, pixels, c = rows.shape
    width = round(pixels**0.5)
    n, k, r = template.shape[1], template.shape[2], template.shape[-1]
    patch = reach + r - 1
    step, image = (torch.arange(i, dtype=corner.dtype, device=rows.device) for i in (patch, b))
    image = image.repeat_interleave(n) * pixels
    index = (corner[1] * width + corner[0] + image)[:, None] + (step[:, None] * width + step).flatten()
    seen = rows.flatten(0, 1).index_select(0, index.flatten())
    taps = template.flatten(-2)  # (B, N, K, C/K or C, R^2)
    full = taps.transpose(2, 3).flatten(-2) if taps.shape[3] == c else block_diagonal(taps)  # (B, N, C, K * R^2)
    kernels = full.unflatten(-1, (k, -1)).transpose(-1, -2).flatten(-2)  # (B, N, C, R^2 * K)
    partial = seen.reshape(b, n, patch * patch, c) @ kernels  # (B, N, patch^2, R^2 * K)
    products = partial.reshape(b, n, patch, patch, r * r * k).split(k, -1)  # one per tap, shifted onto each other:
    shifted = [p[:, :, t // r : t // r + reach, t % r : t % r + reach] for t, p in enumerate(products)]
    return sum(shifted[1:], shifted[0])


def _between(x: Tensor, fraction: Tensor, axis: int) -> Tensor:
    """Interpolate between neighbours along an axis, which gets one shorter."""
    near, far = x.narrow(axis, 0, x.shape[axis] - 1), x.narrow(axis, 1, x.shape[axis] - 1)
    return near + fraction * (far - near)


def _centred(window: int, like: Tensor) -> Tensor:
    """Offsets of the looked-up points: -2 .. 2 for a window of 5."""
    return torch.arange(window, dtype=like.dtype, device=like.device) - (window - 1) / 2


def _tents(points: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear weights of pixels at points, broadcast against each other."""
    return (1 - (points - pixels).abs()).clamp(min=0)
