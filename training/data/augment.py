"""Photometric augmentation of a crop sequence: what light, lens, sensor and codec do, and things before the face.

OpenCV does the image arithmetic: it is a dependency already, and for a 128 x 128 crop on one thread its noise, blur and
JPEG take a twentieth to three quarters of the time of the same on torch tensors. Ours is what augmentation libraries do
not offer: what holds for a whole clip, what changes from frame to frame, and occluders that move smoothly.

Nothing here moves a landmark: every kernel and every resampling is centred on the pixel. Landmarks behind an occluder
stay valid, the network is meant to guess them and to say how unsure it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.training.data.clip import Array, Image

Frames = NDArray[np.uint8]  # (L, S, S, 3) RGB
Rng = np.random.Generator
Pixels = TypeVar("Pixels", Image, NDArray[np.float32])

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, the weights of JPEG and of OpenCV's grey
_PATCH = 48  # pixels, side of an occluder's own picture


@dataclass(frozen=True)
class Augment:
    """Make a clip look as another camera in another light would have shown it.

    Per clip: colour (brightness, contrast, gamma, hue, saturation, colour temperature, or grey), and which of the rest
    happen and how strongly. Per frame: exposure, defocus, motion blur, sensor noise, low resolution, JPEG, and where
    occluders are, which persist and drift.

    `strength` scales every range, and the chance of every effect up to certainty: 0 changes nothing, 1 is for training.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"strength is {self.strength}: a finite number, 0 or more")

    def __call__(self, frames: Frames, rng: Rng) -> Frames:
        """Return the augmented clip; the same generator state gives the same clip.

        Args:
            frames: (L, S, S, 3) uint8 RGB, L > 0; not changed.
            rng: source of all choices.

        Returns:
            (L, S, S, 3) uint8 RGB, a new array.

        Raises:
            ValueError: frames of another shape or type.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
            raise ValueError(f"frames are {frames.dtype} of shape {frames.shape}: (L, S, S, 3) uint8 is needed")
        out = np.array(frames, order="C")
        if self.strength == 0:
            return out
        cv2.setRNGSeed(int(rng.integers(2**31 - 1)))  # the noise is OpenCV's: 3x as fast as numpy's
        # The order of the physical causes: scene, light, lens, sensor, processing, transport.
        for _ in range(2):
            if self._chance(0.2, rng):
                _occlude(out, rng, self.strength)
        dark = self._chance(0.15, rng)
        _expose(out, rng, self.strength, dark)
        if self._chance(0.3, rng):
            _defocus(out, rng, self.strength)
        if self._chance(0.25, rng):
            _move(out, rng, self.strength)
        if dark or self._chance(0.5, rng):
            _add_noise(out, rng, self.strength, dark)
        if self._chance(0.8, rng):
            out = _colour(out, rng, self.strength)
        if self._chance(0.2, rng):
            _lose_resolution(out, rng, self.strength)
        if self._chance(0.35, rng):
            _compress(out, rng, self.strength)
        return out

    def _chance(self, probability: float, rng: Rng) -> bool:
        return bool(rng.random() < probability * self.strength)


def _drift(length: int, rng: Rng) -> Array:
    """Return (L,) of a smooth curve around 0, mostly within [-1, 1]: a slow sine of random phase and a slope."""
    t = np.arange(length) / 25  # seconds at a usual rate
    return 0.7 * np.sin(rng.uniform(1, 8) * t + rng.uniform(0, 2 * math.pi)) + rng.uniform(-0.6, 0.6) * t


# Scene ----------------------------------------------------------------------------------------------------------------


def _occlude(frames: Frames, rng: Rng, strength: float) -> None:
    """Put one thing before the face, in place: it drifts and turns, and may be there for part of the clip only."""
    length, height, width = frames.shape[:3]
    patch, mask = _thing(frames[0], rng)
    reach = min(1.0, strength) * rng.uniform(0.1, 0.45) * min(height, width)  # pixels, its side
    x, y = (side * rng.uniform(0.1, 0.9) + 0.15 * side * _drift(length, rng) * rng.random() for side in (width, height))
    angle = rng.uniform(0, 2 * math.pi) + 0.5 * rng.random() * _drift(length, rng)
    first, last = (0, length) if rng.random() < 0.6 else sorted(rng.integers(0, length + 1, 2))
    for t in range(first, last):
        cos, sin = (float(f(angle[t])) * reach / _PATCH for f in (math.cos, math.sin))
        middle = (_PATCH - 1) / 2
        place = np.array([[cos, -sin, x[t] - (cos - sin) * middle], [sin, cos, y[t] - (sin + cos) * middle]])
        before = cv2.warpAffine(patch, place, (width, height), borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.warpAffine(mask, place, (width, height))
        frames[t] = cv2.blendLinear(before, frames[t], alpha, 1 - alpha)


def _thing(image: Image, rng: Rng) -> tuple[Image, NDArray[np.float32]]:
    """Return an occluder: its picture (P, P, 3) and its mask (P, P) in [0, 1], empty at the border."""
    mask = np.zeros((_PATCH, _PATCH), np.float32)
    middle, radius = _PATCH // 2, _PATCH // 2 - 3
    if rng.random() < 0.5:
        axes = (radius, max(3, int(radius * rng.uniform(0.25, 1))))
        cv2.ellipse(mask, (middle, middle), axes, 0, 0, 360, 1.0, -1)
    else:  # a polygon around the middle: cards, hands, cups
        corners = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 9)))
        reach = radius * rng.uniform(0.5, 1, len(corners))
        polygon = middle + np.stack([np.cos(corners), np.sin(corners)], -1) * reach[:, None]
        cv2.fillPoly(mask, [np.rint(polygon).astype(np.int32)], 1.0)
    mask = cv2.GaussianBlur(mask, (3, 3), 0)
    kind = rng.integers(3)
    if kind == 0:
        patch = np.full((_PATCH, _PATCH, 3), rng.integers(0, 256, 3), np.uint8)
    elif kind == 1:
        cells = int(rng.integers(2, 9))
        patch = _enlarge(rng.integers(0, 256, (cells, cells, 3), np.uint8), _PATCH, _PATCH)
    else:  # a part of the picture itself, skin included
        side = max(2, int(min(image.shape[:2]) * rng.uniform(0.1, 0.4)))
        top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape[:2])
        patch = _enlarge(np.ascontiguousarray(image[top : top + side, left : left + side]), _PATCH, _PATCH)
    return patch, mask


def _expose(frames: Frames, rng: Rng, strength: float, dark: bool) -> None:
    """Let the exposure drift as automatic cameras and flickering lamps do; in low light, far below a proper one."""
    level = math.exp(-strength * rng.uniform(0.4, 1.5)) if dark else 1.0
    gains = level * np.exp(0.12 * strength * rng.random() * _drift(len(frames), rng))
    for t, gain in enumerate(gains):
        frames[t] = cv2.convertScaleAbs(frames[t], alpha=float(gain))


# Lens and motion ------------------------------------------------------------------------------------------------------


def _defocus(frames: Frames, rng: Rng, strength: float) -> None:
    """Blur by a Gaussian whose width drifts as a focus that hunts; sigma up to 1.5 % of the side."""
    side = min(frames.shape[1:3])
    sigmas = strength * side * rng.uniform(0.002, 0.012) * np.exp(0.4 * _drift(len(frames), rng))
    for t, sigma in enumerate(np.clip(sigmas, 0.1, 0.03 * side)):
        frames[t] = cv2.GaussianBlur(frames[t], (0, 0), float(sigma))


def _move(frames: Frames, rng: Rng, strength: float) -> None:
    """Blur some frames along a line, up to 8 % of the side long, as a hand or a head that jerks."""
    side, share = min(frames.shape[1:3]), rng.uniform(0.1, 0.8)
    for t in np.flatnonzero(rng.random(len(frames)) < share):
        kernel = _line(strength * side * rng.uniform(0.015, 0.08), rng.uniform(0, math.pi))
        frames[t] = cv2.filter2D(frames[t], -1, kernel, borderType=cv2.BORDER_REPLICATE)


def _line(length: float, angle: float) -> NDArray[np.float32]:
    """Return an odd square kernel of sum 1: a line of `length` pixels through the centre, symmetric about it."""
    reach = max(1, math.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    along = np.linspace(-0.5, 0.5, 8 * reach + 1) * length
    x, y = along * math.cos(angle) + reach, along * math.sin(angle) + reach
    left, top = np.minimum(np.floor(x), 2 * reach - 1).astype(int), np.minimum(np.floor(y), 2 * reach - 1).astype(int)
    for dx in (0, 1):  # bilinear splatting keeps the centroid exactly
        for dy in (0, 1):
            weight = (1 - np.abs(x - left - dx)) * (1 - np.abs(y - top - dy))
            np.add.at(kernel, (top + dy, left + dx), weight)
    return kernel / kernel.sum()


# Sensor and processing ------------------------------------------------------------------------------------------------


def _add_noise(frames: Frames, rng: Rng, strength: float, dark: bool) -> None:
    """Add noise of variance read^2 + shot * level (8-bit levels), fine or, as a denoiser leaves it, coarse."""
    read = strength * (rng.uniform(3, 12) if dark else rng.uniform(0, 5))
    shot = strength**2 * rng.uniform(0, 0.5)
    deviation = np.sqrt(read**2 + shot * np.arange(256, dtype=np.float64)).astype(np.float32)
    coarse = 2 if rng.random() < 0.3 else 1
    height, width = frames.shape[1:3]
    noise = np.empty((-(-height // coarse), -(-width // coarse), 3), np.float32)
    for t in range(len(frames)):
        cv2.randn(noise, 0, 1)
        fine = _enlarge(noise, height, width) if coarse > 1 else noise
        frames[t] = cv2.add(frames[t], cv2.multiply(fine, cv2.LUT(frames[t], deviation)), dtype=cv2.CV_8U)


def _colour(frames: Frames, rng: Rng, strength: float) -> Frames:
    """Apply one colour matrix and one gamma to the whole clip: a camera's rendering, not a flicker.

    Hue turns about the grey axis, saturation is the distance from BT.601 luma, temperature scales red against blue.
    """
    hue = strength * rng.normal(0, 0.12)  # radians
    saturation = 0.0 if rng.random() < 0.08 * strength else math.exp(strength * rng.normal(0, 0.25))
    warmth = strength * rng.normal(0, 0.12)
    contrast = math.exp(strength * rng.normal(0, 0.2))
    brightness = strength * rng.normal(0, 20)  # 8-bit levels
    gamma = math.exp(strength * rng.normal(0, 0.2))
    grey = np.tile(_LUMA, (3, 1))
    matrix = grey + saturation * (np.eye(3) - grey)
    matrix = contrast * np.diag(np.exp([warmth, 0.0, -warmth])) @ matrix @ _about_grey(hue)
    offset = 127.5 * (1 - contrast) + brightness
    rows = frames.reshape(-1, frames.shape[2], 3)  # one tall picture: one call
    coloured = cv2.transform(rows, np.concatenate([matrix, np.full((3, 1), offset)], 1))
    curve = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return cv2.LUT(coloured, curve).reshape(frames.shape)


def _about_grey(angle: float) -> Array:
    """Return the rotation (3, 3) of RGB about (1, 1, 1) by Rodrigues' formula."""
    axis = 1 / math.sqrt(3)
    cross = axis * np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


# Transport ------------------------------------------------------------------------------------------------------------


def _lose_resolution(frames: Frames, rng: Rng, strength: float) -> None:
    """Keep the detail of a face that is small in the frame: down by area to a share of the side, and up again."""
    height, width = frames.shape[1:3]
    share = math.exp(-strength * rng.uniform(0.1, 1.2))
    small = (max(2, round(width * share)), max(2, round(height * share)))
    for t in range(len(frames)):
        frames[t] = _enlarge(cv2.resize(frames[t], small, interpolation=cv2.INTER_AREA), height, width)


def _compress(frames: Frames, rng: Rng, strength: float) -> None:
    """Write and read each frame as JPEG; the quality stays near one value for the clip."""
    quality = 95 - min(1.0, strength) * rng.uniform(10, 75)
    for t, value in enumerate(quality + rng.uniform(-5, 5, len(frames))):
        options = [cv2.IMWRITE_JPEG_QUALITY, int(np.clip(value, 5, 100))]
        written = cv2.imencode(".jpg", cv2.cvtColor(frames[t], cv2.COLOR_RGB2BGR), options)[1]
        frames[t] = cv2.cvtColor(cv2.imdecode(written, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _enlarge(image: Pixels, height: int, width: int) -> Pixels:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
