"""From a clip to what the network sees: crops with motion, and the landmarks in their pixels.

Evaluation and tracking use the contract's sampler (`qlot.runtime.tracking.crop`). Training needs rotations, shears and
a little perspective besides, many thousand times a minute, so it warps with OpenCV: bilinear on an image twice the
size, then averaged, where the crop shrinks the picture. The difference is below what the photometric augmentation adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.defaults import CROP
from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.crop import crop_of, fit_crop
from qlot.training.data.clip import Array, Clip, DataError, Image

Matrix = NDArray[np.float64]
LEAST_POINTS = 3  # of a frame, to lay a crop on them


@dataclass(frozen=True)
class Disturbance:
    """How far a training crop strays from the rule's; lengths are shares of its side.

    The first frame is off as a detector's box would be. From then on face and crop move against each other: a smooth
    path whose velocity is an Ornstein-Uhlenbeck process, nothing at all in a share of the clips.
    """

    scale: float = 0.20  # uniform in +- ln side
    shift: float = 0.14  # uniform, each axis
    rotation: float = 10.0  # degrees, sigma
    aspect: float = 0.04  # sigma of ln width/height
    shear: float = 0.03  # sigma
    perspective: float = 0.03  # sigma of the change of scale across the crop
    still: float = 0.3  # share of clips without motion
    speed: float = 0.012  # sigma of the shift per frame; a clip draws its own factor
    turn: float = 1.0  # degrees per frame, sigma
    zoom: float = 0.008  # ln per frame, sigma
    memory: float = 0.7  # of the velocity from frame to frame


def rule_box(clip: Clip, frame: int) -> CropBox:
    """Return the clip's own box, or the crop that the contract's rule gives for a frame's valid landmarks.

    A frame with fewer than three takes the crop of the frame that has most. A face that is upside down has a negative
    side: its crop is the picture turned by 180 degrees.

    Raises:
        DataError: no frame has three valid landmarks, or all of them lie in one place.
    """
    if clip.box is not None:
        return clip.box
    counts = clip.valid.sum(1)
    frame = frame if counts[frame] >= LEAST_POINTS else int(counts.argmax())
    valid = clip.valid[frame]
    if counts[frame] < LEAST_POINTS:
        raise DataError(f"{clip.source}: {counts[frame]} valid landmarks; a crop needs {LEAST_POINTS}. Leave it out.")
    box = crop_of(fit_crop(clip.queries[valid], clip.landmarks[frame, valid]), CROP)
    if not abs(box.side) >= 1:  # NaN as well
        raise DataError(f"{clip.source}: its landmarks lie in one place, which is no face. Correct or leave it out.")
    return box


def disturbed_paths(box: CropBox, size: int, frames: int, how: Disturbance, rng: np.random.Generator) -> list[Matrix]:
    """Return for each frame the 3 x 3 map from crop pixels (size x size) to the pixels of the picture."""
    start = np.array(
        [*rng.uniform(-how.shift, how.shift, 2), rng.uniform(-how.scale, how.scale), rng.normal(0, how.rotation)]
    )
    aspect, shear = rng.normal(0, how.aspect), rng.normal(0, how.shear)
    tilt = rng.normal(0, how.perspective, 2)
    sigma = np.array([how.speed, how.speed, how.zoom, how.turn])
    sigma = sigma * (0.0 if rng.random() < how.still else rng.exponential(1.0))
    fresh = np.sqrt(1 - how.memory**2)
    velocity, place, maps = rng.normal(size=4) * sigma, start, []
    wobble = rng.normal(0, how.perspective / 4, 2) * (sigma[0] > 0)
    for t in range(frames):
        maps.append(_to_picture(box, size, place, aspect, shear, tilt + wobble * np.sin(0.7 * t)))
        velocity = how.memory * velocity + fresh * rng.normal(size=4) * sigma
        place = place + velocity
    return maps


def _to_picture(box: CropBox, size: int, place: Array, aspect: float, shear: float, tilt: Array) -> Matrix:
    """Compose: crop pixels -> [-0.5, 0.5] -> perspective -> rotation, scale, shear -> pixels of the picture."""
    x, y, ln_scale, degrees = place
    unit = np.array([[1 / size, 0, 0.5 / size - 0.5], [0, 1 / size, 0.5 / size - 0.5], [0, 0, 1]])
    perspective = np.array([[1, 0, 0], [0, 1, 0], [tilt[0], tilt[1], 1]])
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    stretch = np.array([[np.exp(aspect / 2), shear, 0], [0, np.exp(-aspect / 2), 0], [0, 0, 1]])
    side = box.side * np.exp(ln_scale)
    place_in = np.array([[side, 0, box.center_x + x * box.side], [0, side, box.center_y + y * box.side], [0, 0, 1]])
    return place_in @ rotation @ stretch @ perspective @ unit


def warp(picture: Image, to_picture: Matrix, size: int, shrink: float) -> Image:
    """Sample a crop (size, size, 3); what lies outside the picture is black.

    Args:
        picture: (H, W, 3).
        to_picture: 3 x 3 map from crop pixels to picture pixels.
        size: side of the crop.
        shrink: picture pixels per crop pixel; above 1.2 the crop is averaged from twice its size.
    """
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if shrink <= 1.2:
        return np.asarray(cv2.warpPerspective(picture, to_picture, (size, size), flags=flags), np.uint8)
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])  # pixels of the doubled crop -> crop pixels
    large = cv2.warpPerspective(picture, to_picture @ half, (2 * size, 2 * size), flags=flags)
    return np.asarray(cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def apply_map(matrix: NDArray[np.floating[Any]], points: Array) -> Array:
    """Map points (..., 2) by a 3 x 3 homography."""
    mapped = np.concatenate([points, np.ones((*points.shape[:-1], 1))], -1) @ matrix.T
    return np.asarray(mapped[..., :2] / mapped[..., 2:], np.float64)


def crop_clip(clip: Clip, size: int, how: Disturbance, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Array]:
    """Return crops (L, S, S, 3) and the landmarks in their pixels (L, N, 2), both in the disturbed crop.

    The crop is laid on the first frame and then moves by its own path: the motion of a face in a video comes on top.
    """
    box = rule_box(clip, 0)
    paths = disturbed_paths(box, size, len(clip.frames), how, rng)
    crops = np.stack(
        [warp(picture, path, size, abs(box.side) / size) for picture, path in zip(clip.frames, paths, strict=True)]
    )
    landmarks = np.stack([apply_map(np.linalg.inv(path), at) for at, path in zip(clip.landmarks, paths, strict=True)])
    return crops, landmarks
