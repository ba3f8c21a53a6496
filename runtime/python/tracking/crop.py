"""The crop: where it lies on the face, how it is sampled, and how it follows. Written rule: `runtime/contract/crop.md`.

Crop pixel u lies at frame x = center_x + (u + 0.5 - S/2) side/S, pixel centres at integers in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import CropSpec, TrackingSpec
from qlot.runtime.geometry import CropBox, FloatArray

Points = NDArray[np.float64]
_BLOCK = (4, 16)  # fewest and most output pixels summed at once: their tents overlap, those of distant pixels do not
_BLOCK_SOURCE = 32  # source pixels that the centres of a block should span: more are mostly outside of its tents


@dataclass(frozen=True)
class Fit:
    """Landmarks = scale * (x, -y) + (tx, ty) over the canonical points, least squares; lengths in pixels."""

    scale: float  # pixels per canonical unit
    tx: float
    ty: float
    residual: float  # RMS distance of the landmarks to the fitted points

    @property
    def sound(self) -> bool:
        """Whether the landmarks can be a face at all: all numbers finite, and not mirrored through the centre."""
        return all(map(math.isfinite, (self.scale, self.tx, self.ty, self.residual))) and self.scale > 0


def fit_crop(points: Points, landmarks: FloatArray | Points) -> Fit:
    """Fit scale and translation, no rotation, of the canonical (x, -y) to landmarks.

    Args:
        points: (N, 3) canonical points, y up, not all in one place.
        landmarks: (N, 2) positions in pixels.

    Returns:
        The fit; not sound if the landmarks are not finite or contradict the face.
    """
    canonical = points[:, :2] * (1.0, -1.0)
    target = landmarks.astype(np.float64)
    middle, target_middle = canonical.mean(0), target.mean(0)
    around, target_around = canonical - middle, target - target_middle
    scale = float((around * target_around).sum() / (around * around).sum())
    tx, ty = target_middle - scale * middle
    residual = math.sqrt(float(((target_around - scale * around) ** 2).sum(-1).mean()))
    return Fit(scale, float(tx), float(ty), residual)


def crop_of(fit: Fit, spec: CropSpec) -> CropBox:
    """Return the crop that the rule prescribes for a fit in frame pixels."""
    x, y = spec.center
    return CropBox(fit.tx + fit.scale * x, fit.ty - fit.scale * y, fit.scale * spec.side)


def target_crop(fit: Fit, box: CropBox, size: int, spec: CropSpec) -> CropBox:
    """Return the crop, in frame pixels, that the rule prescribes for a fit in pixels of a crop `box` of `size`."""
    inner = crop_of(fit, spec)
    x, y = to_frame(np.array([inner.center_x, inner.center_y]), box, size)
    return CropBox(float(x), float(y), inner.side * box.side / size)


def to_frame(positions: FloatArray, box: CropBox, size: int) -> Points:
    """Map positions (..., 2) in crop pixels to frame pixels."""
    return (positions.astype(np.float64) + 0.5 - size / 2) * (box.side / size) + (box.center_x, box.center_y)


def sample_crop(rgb: NDArray[np.uint8], box: CropBox, size: int) -> FloatArray:
    """Resample a crop of an upright frame with an antialiased tent.

    The tent of an output pixel has a half-width of max(1, side/S) frame pixels around its exact position, and weights
    normalised over the unbounded pixel grid; what lies outside the frame counts as black.

    Args:
        rgb: (H, W, 3) uint8, any strides.
        box: the crop in pixels of this frame; it may leave the frame.
        size: side S of the network input.

    Returns:
        (1, 3, S, S) float32 in [0, 1].
    """
    step = box.side / size
    offsets: Points = (np.arange(size, dtype=np.float64) + 0.5 - size / 2) * step
    xs, ys, radius = box.center_x + offsets, box.center_y + offsets, max(1.0, step)
    left, right = _touched(xs, radius, rgb.shape[1])
    rows = _resample(rgb[:, left:right], ys, radius)  # (S, w, 3)
    columns = _resample(rows.transpose(1, 2, 0), xs - left, radius)  # (S, 3, S): x, channel, y
    crop = columns.transpose(1, 2, 0) * np.float32(1 / 255)
    return np.ascontiguousarray(crop)[None]


def _touched(centers: Points, radius: float, length: int) -> tuple[int, int]:
    """Return the half-open range of pixels in [0, length) under the tents of ascending centres."""
    low, high = np.clip([centers[0] - radius, centers[-1] + radius + 1], 0, length)
    return math.floor(low), max(math.floor(low), math.floor(high))


def _resample(image: NDArray[np.uint8] | FloatArray, centers: Points, radius: float) -> FloatArray:
    """Resample the first axis at the centres: (L, A, B) -> (len(centers), A, B) float32.

    einsum, not a matrix product: BLAS would spread these small sums over every core, whatever was asked of the engine.
    """
    a, b = image.shape[1:]
    out = np.empty((len(centers), a, b), np.float32)
    count = int(np.clip(_BLOCK_SOURCE / radius, *_BLOCK))
    for start in range(0, len(centers), count):
        block = centers[start : start + count]
        low, high = _touched(block, radius, len(image))
        tents = np.maximum(0.0, 1 - np.abs(np.arange(low, high) - block[:, None]) / radius)
        weights = (tents / _tent_sum(block, radius)[:, None]).astype(np.float32)
        source = np.ascontiguousarray(image[low:high], np.float32).reshape(high - low, a * b)
        np.einsum("ok,kn->on", weights, source, out=out[start : start + count].reshape(len(block), a * b))
    return out


def _tent_sum(centers: Points, radius: float) -> Points:
    """Return sum over all integers k of max(0, 1 - |k - c|/radius): two arithmetic series, left and right of c."""
    total = np.zeros_like(centers)
    for first in (centers - np.floor(centers), np.floor(centers) + 1 - centers):  # distance of the nearest k
        count = np.floor(np.maximum(radius - first, -1.0)) + 1
        total += count - (count * first + count * (count - 1) / 2) / radius
    return total


@dataclass(frozen=True)
class CropPolicy:
    """A crop that rests while its target stays near and follows smoothly when it leaves.

    With d the distance of the centres over the crop's side, z the difference of ln side, and b = max(d/hold_shift,
    z/hold_scale): max(d, z) > jump_shift moves the crop onto the target at once. Otherwise a resting crop stays exactly
    where it is until b > 1; then centre and ln side approach the target with 1 - exp(-elapsed/crop_time_constant), and
    the crop rests again as soon as b <= settle after such a move.
    """

    box: CropBox
    moving: bool = False

    def follow(self, target: CropBox, elapsed: float, spec: TrackingSpec) -> CropPolicy:
        """Return the crop for the next frame, given where it should be now and the seconds since the last call."""
        shift, scale = _apart(self.box, target)
        if max(shift, scale) > spec.jump_shift:
            return CropPolicy(target)
        if not self.moving and max(shift / spec.hold_shift, scale / spec.hold_scale) <= 1:
            return self
        share = -math.expm1(-elapsed / spec.crop_time_constant)
        box = CropBox(
            self.box.center_x + share * (target.center_x - self.box.center_x),
            self.box.center_y + share * (target.center_y - self.box.center_y),
            self.box.side * (target.side / self.box.side) ** share,
        )
        shift, scale = _apart(box, target)
        return CropPolicy(box, max(shift / spec.hold_shift, scale / spec.hold_scale) > spec.settle)


def _apart(box: CropBox, target: CropBox) -> tuple[float, float]:
    distance = math.hypot(target.center_x - box.center_x, target.center_y - box.center_y)
    return distance / box.side, abs(math.log(target.side / box.side))
