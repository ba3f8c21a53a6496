"""Clips without a face: where the network learns to be unsure, and the tracker to let go.

Made from labelled pictures (a crop beside the face, the face cut into tiles, the face behind a patch) or from nothing
(textures). A part of a face enlarged is not faceless: no crop here shows one.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from qlot.metrics import faceless
from qlot.metrics.faceless import texture
from qlot.model.layout import Layout
from qlot.runtime.geometry import CropBox
from qlot.training.data.clip import Array, Clip, Image, Source
from qlot.training.data.crops import rule_box

Rng = np.random.Generator

_FACE = 0.84  # of the crop's side: the square that holds the landmarks, chin to brows (the rest of the crop is margin)
_LITTLE = 0.1  # of the face and of the crop: as much of one may lie in the other
_RATE = 25.0  # frames per second of what drifts
_TEXTURE = 256  # pixels, side


class Faceless:
    """Pictures without a face, or whose face was destroyed, still or drifting smoothly.

    Indices run over the faces to destroy, then the textures. What is made of a face keeps that face's identity, so that
    a split by identity holds.

    Args:
        layout: whose queries are asked for; no landmark is valid.
        faces: labelled pictures that show one face each; of each index a faceless one is made.
        textures: how many further indices yield textures.
    """

    def __init__(self, layout: Layout, faces: Source, textures: int) -> None:
        self.name = "faceless"
        self._layout, self._faces, self._textures = layout, faces, textures

    def __len__(self) -> int:
        return len(self._faces) + self._textures

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return `length` frames; what is made of the material, where to look and the drift are drawn.

        Raises:
            DataError: a picture that cannot be read, by name.
        """
        if index < len(self._faces):
            what, picture, box = _without_face(self._faces.clip(index, 1, rng), rng)
        else:
            what, picture = "texture", texture(_TEXTURE, _TEXTURE, rng)
            box = _anywhere(picture, rng)
        frames, box, moving = _drifting(picture, box, length, rng)
        points = len(self._layout)
        return Clip(
            frames=frames,
            landmarks=np.full((length, points, 2), np.nan),
            valid=np.zeros((length, points), np.bool_),
            queries=self._layout.points,
            layout=self._layout.name,
            identity=self.identity(index),
            source=f"{self.name}: {what}",
            fps=_RATE if moving else None,
            box=box,
        )

    def identity(self, index: int) -> str:
        """Return the identity of the face that was destroyed, or the texture's number."""
        known = len(self._faces)
        return self._faces.identity(index) if index < known else f"faceless/{index - known}"


def beside(picture: Image, face: CropBox, rng: np.random.Generator) -> CropBox | None:
    """Return a crop of any size that shows little of the face and is not part of it, or None if none was found."""
    height, width = picture.shape[:2]
    for _ in range(20):
        side = min(height, width) * math.exp(rng.uniform(math.log(0.2), math.log(0.8)))
        box = CropBox(rng.uniform(0, width), rng.uniform(0, height), side)
        square = CropBox(face.center_x, face.center_y, _FACE * face.side)
        common = _common(box, square)
        if common <= _LITTLE * min(side, square.side) ** 2:
            return box
    return None


def shuffled(picture: Image, face: CropBox, rng: np.random.Generator) -> Image:
    """Return the picture with the crop cut into 4 x 4 to 8 x 8 tiles, each in another's place."""
    x0, y0, x1, y1 = _bounds(picture, face, 0.5)
    count = int(rng.integers(4, 9))  # larger tiles would leave an eye or a mouth where it may be
    tall, wide = (y1 - y0) // count, (x1 - x0) // count
    cycle = rng.permutation(count * count)
    order = np.empty_like(cycle)
    order[cycle] = np.roll(cycle, 1)  # one cycle through all: none keeps its place
    return faceless.shuffled(picture, (y0, x0), (tall, wide), count, order)


def covered(picture: Image, landmarks: Array, face: CropBox, rng: np.random.Generator) -> Image:
    """Return the picture with landmarks (N, 2) behind a rectangle or ellipse of some texture; hair and neck stay."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = _bounds(picture, face, _FACE / 2)
    reach = 0.03 * face.side
    corners = np.concatenate([[(x0, y0), (x1, y1)], landmarks - reach, landmarks + reach])
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    mask = np.zeros((height, width), np.uint8)
    if rng.random() < 0.5:
        cv2.rectangle(mask, (math.floor(left), math.floor(top)), (math.ceil(right), math.ceil(bottom)), 1, -1)
    else:  # through the corners of that rectangle
        middle = (round((left + right) / 2), round((top + bottom) / 2))
        axes = (math.ceil((right - left) / math.sqrt(2)) + 1, math.ceil((bottom - top) / math.sqrt(2)) + 1)
        cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1)
    patch = cv2.resize(texture(_TEXTURE, _TEXTURE, rng), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(mask[..., None] > 0, patch, picture)


def _without_face(clip: Clip, rng: Rng) -> tuple[str, Image, CropBox]:
    """Return what was done to the clip's first picture, the result, and where to look."""
    picture, face = clip.frames[0], rule_box(clip, 0)
    way = rng.integers(3)
    if way == 0 and (box := beside(picture, face, rng)):
        return f"beside the face of {clip.source}", picture, box
    box = _near(face, rng)
    x0, y0, x1, y1 = _bounds(picture, face, 0.5)
    if way == 1 or min(x1 - x0, y1 - y0) < 24:  # too few pixels for tiles
        return f"covered, {clip.source}", covered(picture, clip.landmarks[0, clip.valid[0]], face, rng), box
    return f"shuffled, {clip.source}", shuffled(picture, face, rng), box


def _near(face: CropBox, rng: Rng) -> CropBox:
    x, y = face.side * rng.uniform(-0.1, 0.1, 2)
    return CropBox(face.center_x + x, face.center_y + y, face.side * math.exp(rng.uniform(-0.15, 0.15)))


def _anywhere(picture: Image, rng: Rng) -> CropBox:
    """Return a crop of any size whose centre lies in the picture."""
    height, width = picture.shape[:2]
    side = min(height, width) * math.exp(rng.uniform(math.log(0.25), 0))
    return CropBox(rng.uniform(0, width), rng.uniform(0, height), side)


def _drifting(picture: Image, box: CropBox, length: int, rng: Rng) -> tuple[tuple[Image, ...], CropBox, bool]:
    """Let half of the clips drift below the crop, along a smooth closed path around where it is.

    The frames are windows of the picture, a little smaller than it, at whole pixels: no frame is a copy.
    """
    reach = int(rng.uniform(0.01, 0.1) * min(box.side, *picture.shape[:2]))
    if rng.random() < 0.5 or not reach:
        return (picture,) * length, box, False
    height, width = (n - 2 * reach for n in picture.shape[:2])
    time = np.arange(length) / _RATE
    phase, speed = rng.uniform(0, 2 * math.pi, 2), rng.uniform(1, 8, 2)  # rad, rad/s
    path = np.rint(reach * (1 + np.sin(phase + speed * time[:, None]))).astype(int)
    frames = tuple(picture[y : y + height, x : x + width] for x, y in path)
    return frames, CropBox(box.center_x - reach, box.center_y - reach, box.side), True


def _common(a: CropBox, b: CropBox) -> float:
    """Return the area that two squares have in common."""
    apart = abs(a.center_x - b.center_x), abs(a.center_y - b.center_y)
    x, y = (min((a.side + b.side) / 2 - d, a.side, b.side) for d in apart)
    return max(x, 0.0) * max(y, 0.0)


def _bounds(picture: Image, box: CropBox, share: float) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of the part of the picture within `share` sides of the box's centre."""
    return faceless.bounds(picture, box.center_x, box.center_y, share * box.side)
