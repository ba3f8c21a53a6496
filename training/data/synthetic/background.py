"""What is behind the head, and what is in front of it: flat pictures, no geometry."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.training.data.clip import Array, Image
from qlot.training.data.pictures import read_picture
from qlot.training.data.synthetic.scene import Background, Colour, Occluder

_FINGERS = ((-0.75, -1.0), (-0.28, -1.25), (0.2, -1.3), (0.65, -1.15), (1.15, -0.2))  # tips, in palm widths
_SUBPIXEL = 4  # fractional bits of OpenCV's drawing coordinates


@lru_cache(maxsize=4)
def background(spec: Background, size: int) -> Image:
    """Return the picture behind the head, (size, size, 3); read-only, as it is remembered.

    Raises:
        DataError: a picture that cannot be read.
    """
    first, second, third = (np.array(colour) for colour in spec.colours)
    x, y = _turned_axes(size, spec.angle)
    if spec.kind == "picture":
        drawn = _covering(Path(spec.path or ""), size)
    elif spec.kind == "plain":
        drawn = np.broadcast_to(first, (size, size, 3)).copy()
    elif spec.kind == "gradient":
        drawn = first + (second - first) * ((y + 1) / 2).clip(0, 1)[..., None]
    elif spec.kind == "checker":
        fields = (np.floor(x * spec.cells / 2) + np.floor(y * spec.cells / 2)).astype(int) % 2
        drawn = np.where(fields[..., None] == 1, first, second)
    else:
        mix = _blotches(spec.seed, spec.cells, size)
        drawn = first + (second - first) * mix[..., :1] + (third - first) * mix[..., 1:]
    if spec.blur > 0:
        drawn = cv2.GaussianBlur(drawn, (0, 0), max(0.3, spec.blur * size))
    picture = np.rint(255 * np.clip(drawn, 0, 1)).astype(np.uint8)
    picture.flags.writeable = False
    return picture


def _turned_axes(size: int, angle: float) -> tuple[Array, Array]:
    axis = np.linspace(-1, 1, size)
    x, y = np.meshgrid(axis, axis)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return cos * x + sin * y, -sin * x + cos * y


def _blotches(seed: int, cells: int, size: int) -> Array:
    """Return (size, size, 2) smooth noise in [0, 1] of two scales."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((cells, cells, 2)), (size, size), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.random((4 * cells, 4 * cells, 2)), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(0.7 * coarse + 0.3 * fine, 0, 1)


def _covering(path: Path, size: int) -> Array:
    picture = read_picture(path, upright=True)
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    scaled = cv2.resize(picture[top : top + side, left : left + side], (size, size), interpolation=way)
    return np.asarray(scaled / 255.0)


def occlude(picture: Image, occluders: tuple[Occluder, ...], seconds: float) -> tuple[Image, NDArray[np.bool_]]:
    """Draw what is in the way, and return the picture (H, W, 3) and where it is covered (H, W)."""
    covered = np.zeros(picture.shape[:2], bool)
    for occluder in occluders:
        alpha = _silhouette(occluder, len(picture), seconds)
        colours = _shaded(occluder, len(picture))
        share = alpha[..., None] / 255.0
        picture = np.rint(picture * (1 - share) + 255 * colours * share).astype(np.uint8)
        covered |= alpha > 127
    return picture, covered


def _silhouette(occluder: Occluder, size: int, seconds: float) -> NDArray[np.uint8]:
    """Return the occluder's coverage (size, size), 255 inside."""
    swing = math.sin(2 * math.pi * occluder.rate * seconds)
    centre = np.array(occluder.centre) + swing * np.array(occluder.sway)
    cos, sin = math.cos(math.radians(occluder.angle)), math.sin(math.radians(occluder.angle))
    turn = np.array([[cos, -sin], [sin, cos]])

    def pixels(local: Array) -> NDArray[np.int32]:
        placed = (local * occluder.size) @ turn.T + centre
        return np.rint((placed * size - 0.5) * 2**_SUBPIXEL).astype(np.int32)

    alpha = np.zeros((size, size), np.uint8)
    round_ = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ellipse = np.column_stack([np.cos(round_), np.sin(round_)])
    corners = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    shape = {"ellipse": ellipse, "rectangle": corners, "hand": ellipse * (0.8, 0.75)}[occluder.kind]
    cv2.fillPoly(alpha, [pixels(shape)], 255, cv2.LINE_AA, _SUBPIXEL)
    if occluder.kind == "hand":
        thickness = max(1, round(0.36 * min(occluder.size) * size))
        for tip in _FINGERS:
            root, end = pixels(np.array([(0.6 * tip[0], 0.2 * tip[1]), tip]))
            cv2.line(alpha, root.tolist(), end.tolist(), 255, thickness, cv2.LINE_AA, _SUBPIXEL)
    return alpha


def _shaded(occluder: Occluder, size: int) -> Array:
    x, _ = _turned_axes(size, occluder.angle)
    first, second = (np.array(colour) for colour in occluder.colours)
    reach = max(occluder.size)
    share = ((x - (2 * np.array(occluder.centre) - 1).mean()) / (4 * reach) + 0.5).clip(0, 1)
    return np.asarray(first + (second - first) * share[..., None])


def to_srgb(linear: Array) -> Array:
    """Return sRGB in [0, 1] of linear light (IEC 61966-2-1)."""
    low = linear * 12.92
    return np.asarray(np.where(linear <= 0.0031308, low, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055))


def srgb_colour(linear: Colour) -> Colour:
    """Return one linear colour as sRGB."""
    red, green, blue = to_srgb(np.array(linear)).tolist()
    return red, green, blue
