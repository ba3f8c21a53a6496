"""Pictures with and without a face, made from frames whose face is known: what the confidence is fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.crop import sample_crop
from qlot.runtime.tracking.orientation import Orientation

Image = NDArray[np.uint8]
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class CropScene:
    """A frame (H, W, 3), a crop to look at, and the crop that the rule gives for the face; None if there is no face."""

    rgb: Image
    box: CropBox
    face: CropBox | None


def near(scene: CropScene, rng: Rng, shift: float = 0.1, scale: float = 0.15) -> CropScene:
    """Return the face with a crop moved by up to `shift` sides and `scale` in ln side."""
    face = scene.face or scene.box
    radius, angle = shift * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
    box = CropBox(
        face.center_x + radius * face.side * math.cos(angle),
        face.center_y + radius * face.side * math.sin(angle),
        face.side * math.exp(rng.uniform(-scale, scale)),
    )
    return CropScene(scene.rgb, box, scene.face)


def degraded(scene: CropScene, rng: Rng) -> CropScene:
    """Return the face dark, noisy, or with the detail of one 30 to 70 pixels wide."""
    image = scene.rgb.astype(np.float32)
    kind = rng.integers(3)
    if kind == 0:
        image *= rng.uniform(0.15, 0.5)
    elif kind == 1:
        image += rng.normal(0, rng.uniform(5, 25), image.shape)
    else:
        factor = max(2, round((scene.face or scene.box).side / rng.uniform(30, 70)))
        rows, columns = (np.minimum(np.arange(n) // factor * factor + factor // 2, n - 1) for n in image.shape[:2])
        image = image[rows][:, columns]
    return near(CropScene(_to_image(image), scene.box, scene.face), rng)


def elsewhere(scene: CropScene, rng: Rng) -> CropScene:
    """Return a crop of any size anywhere in the frame; it may show part of the face."""
    height, width = scene.rgb.shape[:2]
    side = min(height, width) * math.exp(rng.uniform(math.log(0.2), math.log(0.9)))
    return CropScene(scene.rgb, CropBox(rng.uniform(0, width), rng.uniform(0, height), side), scene.face)


def inside(scene: CropScene, rng: Rng) -> CropScene:
    """Return a crop of one part of the face."""
    face = scene.face or scene.box
    part = CropBox(face.center_x, face.center_y, face.side * rng.uniform(0.3, 0.45))
    return CropScene(scene.rgb, near(CropScene(scene.rgb, part, part), rng, 0.7).box, scene.face)


def turned(scene: CropScene, rng: Rng) -> CropScene:
    """Return the face upside down or on its side."""
    face, way = scene.face or scene.box, Orientation(int(rng.choice([90, 180, 180, 270])))
    height, width = scene.rgb.shape[:2]
    x, y = way.points_upright(np.array([face.center_x, face.center_y]), width, height)
    box = CropBox(float(x), float(y), face.side)
    return CropScene(way.upright(scene.rgb), near(CropScene(scene.rgb, box, box), rng).box, None)


def shuffled(scene: CropScene, rng: Rng) -> CropScene:
    """Return the face cut into square tiles, put together at random: eyes and mouths in the wrong places."""
    face = scene.face or scene.box
    image, tile = scene.rgb.copy(), max(2, int(face.side * rng.uniform(0.1, 0.3)))
    x0, y0, x1, y1 = _bounds(face, image, 0.5)
    tiles = [(y, x) for y in range(y0, y1 - tile + 1, tile) for x in range(x0, x1 - tile + 1, tile)]
    for (y, x), source in zip(tiles, rng.permutation(len(tiles)), strict=True):
        v, u = tiles[source]
        image[y : y + tile, x : x + tile] = scene.rgb[v : v + tile, u : u + tile]
    return CropScene(image, near(scene, rng).box, None)


def covered(scene: CropScene, rng: Rng) -> CropScene:
    """Return the face under a blotchy patch; hair, neck and surroundings stay."""
    face = scene.face or scene.box
    image = scene.rgb.copy()
    x0, y0, x1, y1 = _bounds(face, image, 0.42)
    patch = _blotches(rng, max(y1 - y0, x1 - x0, 1))
    image[y0:y1, x0:x1] = patch[: y1 - y0, : x1 - x0]
    return CropScene(image, near(scene, rng).box, None)


def texture(scene: CropScene, rng: Rng) -> CropScene:
    """Return no photograph at all: blotches, noise, a ramp, a checkerboard or a single colour."""
    size, kind = 256, rng.integers(5)
    y, x = np.mgrid[:size, :size]
    if kind == 0:
        image = _blotches(rng, size)
    elif kind == 1:
        image = rng.integers(0, 256, (size, size, 3), np.uint8)
    elif kind == 2:
        angle = rng.uniform(0, 2 * math.pi)
        image = _to_image(127 + 0.7 * (np.cos(angle) * (x - 128) + np.sin(angle) * (y - 128))[..., None].repeat(3, -1))
    elif kind == 3:
        width = rng.integers(4, 60)
        image = _to_image(((x // width + y // width) % 2 * rng.uniform(60, 255))[..., None].repeat(3, -1))
    else:
        image = np.broadcast_to(rng.integers(0, 256, 3, np.uint8), (size, size, 3))
    return CropScene(image, CropBox(127.5, 127.5, rng.uniform(60, 250)), None)


FACES: dict[str, Callable[[CropScene, Rng], CropScene]] = {"near": near, "degraded": degraded}
OTHERS: dict[str, Callable[[CropScene, Rng], CropScene]] = {
    "elsewhere": elsewhere,
    "inside": inside,
    "turned": turned,
    "shuffled": shuffled,
    "covered": covered,
    "texture": texture,
}


def _bounds(box: CropBox, image: Image, share: float) -> tuple[int, int, int, int]:
    reach = share * box.side
    height, width = image.shape[:2]
    x0, x1 = (int(np.clip(box.center_x + d, 0, width)) for d in (-reach, reach))
    y0, y1 = (int(np.clip(box.center_y + d, 0, height)) for d in (-reach, reach))
    return x0, y0, x1, y1


def _blotches(rng: Rng, size: int) -> Image:
    """Random colours, smooth over a random length: a small noise image enlarged by the crop sampler."""
    cells = int(rng.integers(3, 24))
    small = rng.integers(0, 256, (cells, cells, 3), np.uint8)
    middle = (cells - 1) / 2
    return _to_image(sample_crop(small, CropBox(middle, middle, cells - 2.0), size)[0].transpose(1, 2, 0) * 255)


def _to_image(values: NDArray[np.float32] | NDArray[np.float64]) -> Image:
    return np.rint(values).clip(0, 255).astype(np.uint8)
