"""Pictures without a face: to teach a network doubt, to fit a confidence, and to count false finds in."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Rng = np.random.Generator


def texture(height: int, width: int, rng: Rng) -> Image:
    """Return (height, width, 3) that is no photograph: blotches, noise, a ramp, a checkerboard or a single colour."""
    kind = rng.integers(5)
    y, x = np.mgrid[:height, :width]
    one, other = rng.uniform(0, 255, (2, 3))
    if kind == 0:
        full = blotches(max(height, width), rng)[:height, :width]
        return np.rint(one + rng.uniform(0.1, 1) * (full - one)).clip(0, 255).astype(np.uint8)  # from dull to garish
    if kind == 1:
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    if kind == 2:
        angle = rng.uniform(0, 2 * math.pi)
        share = 0.5 + 0.7 * (math.cos(angle) * (x / width - 0.5) + math.sin(angle) * (y / height - 0.5))
    elif kind == 3:
        square = rng.integers(4, 60)
        share = (x // square + y // square) % 2
    else:
        share = np.zeros((height, width))
    return np.asarray(np.rint(one + (other - one) * share[..., None]).clip(0, 255), np.uint8)


def blotches(size: int, rng: Rng) -> Image:
    """Return (size, size, 3) of random colours, smooth over a random length."""
    cells = int(rng.integers(3, 24))
    small = rng.integers(0, 256, (cells, cells, 3), np.uint8)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)


def bounds(picture: Image, x: float, y: float, reach: float) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of the part of a picture within `reach` pixels of (x, y) on each axis."""
    height, width = picture.shape[:2]
    x0, x1 = (int(np.clip(x + d, 0, width)) for d in (-reach, reach))
    y0, y1 = (int(np.clip(y + d, 0, height)) for d in (-reach, reach))
    return x0, y0, x1, y1


def shuffled(
    picture: Image, corner: tuple[int, int], tile: tuple[int, int], columns: int, order: NDArray[np.int64]
) -> Image:
    """Return a picture with tiles of one part of it in each other's places.

    Args:
        picture: (H, W, 3); what lies outside of the tiles stays.
        corner: y, x of the part's upper left pixel.
        tile: height and width of a tile in pixels.
        columns: tiles in a row of the part.
        order: (rows * columns,), a permutation: place i, counted by rows, gets tile `order[i]`.
    """
    (top, left), (tall, wide), rows = corner, tile, len(order) // columns
    part = slice(top, top + rows * tall), slice(left, left + columns * wide)
    tiles = picture[part].reshape(rows, tall, columns, wide, 3).transpose(0, 2, 1, 3, 4).reshape(-1, tall, wide, 3)
    out = picture.copy()
    moved = tiles[order].reshape(rows, columns, tall, wide, 3).transpose(0, 2, 1, 3, 4)
    out[part] = moved.reshape(rows * tall, columns * wide, 3)
    return out
