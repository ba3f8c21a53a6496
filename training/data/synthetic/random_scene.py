"""Draws scenes: people of all skin tones, in all kinds of light, in front of and behind all kinds of things."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from qlot.training.data.clip import Array
from qlot.training.data.synthetic.background import srgb_colour
from qlot.training.data.synthetic.camera import Camera
from qlot.training.data.synthetic.scene import (
    Background,
    BackgroundKind,
    Colour,
    Glasses,
    Light,
    Looks,
    Occluder,
    OccluderKind,
    Scene,
)

# Anchors in sRGB / 255, from light to dark; a person is drawn between neighbours with equal probability.
_SKIN: Final = (
    (246, 222, 208),
    (234, 196, 168),
    (212, 160, 124),
    (170, 114, 80),
    (120, 76, 52),
    (74, 47, 35),
    (46, 30, 24),
)
_HAIR: Final = (
    (18, 14, 12),
    (40, 26, 18),
    (78, 50, 30),
    (140, 98, 56),
    (206, 170, 112),
    (126, 52, 24),
    (170, 168, 164),
)
_IRIS: Final = ((60, 36, 20), (88, 54, 28), (44, 26, 16), (88, 116, 140), (92, 110, 70), (110, 116, 120))
_BEHIND: Final[tuple[BackgroundKind, ...]] = ("plain", "gradient", "blotches", "checker", "picture")
_BEFORE: Final[tuple[OccluderKind, ...]] = ("ellipse", "rectangle", "hand")


def random_scene(seed: int, pictures: Sequence[Path] = ()) -> Scene:
    """Draw a scene; the same seed and pictures give the same scene.

    Args:
        seed: of everything random.
        pictures: backgrounds, for half of the scenes; none are needed.
    """
    rng = np.random.default_rng(seed)
    identity = rng.normal(0, 1, 100) * rng.uniform(0.5, 1.1)
    camera = Camera(distance=float(np.exp(rng.uniform(np.log(35), np.log(140)))), field=float(rng.uniform(21, 31)))
    looks = _looks(rng)
    return Scene(
        identity=tuple(identity.round(5).tolist()),
        looks=looks,
        light=_light(looks.skin, rng),
        camera=camera,
        background=_background(pictures, rng),
        glasses=_glasses(rng) if rng.random() < 0.25 else None,
        occluders=tuple(_occluder(looks.skin, rng) for _ in range(int(rng.choice(3, p=[0.7, 0.25, 0.05])))),
    )


def _looks(rng: np.random.Generator) -> Looks:
    skin = _between(_SKIN, rng)
    hair = _near(_HAIR[rng.integers(len(_HAIR))], 0.25, rng)
    if rng.random() < 0.1:  # a cap, a scarf, or dyed
        hair = _linear(rng.uniform(0, 255, 3))
    lips = np.array(skin) * (0.8, 0.42, 0.45) * rng.uniform(0.8, 1.1)
    if rng.random() < 0.2:  # painted
        lips = np.array(_linear(np.array([rng.uniform(90, 210), rng.uniform(15, 70), rng.uniform(25, 90)])))
    brows = np.array(hair) * rng.uniform(0.4, 1.0) if rng.random() < 0.7 else np.array(_linear(np.array(_HAIR[0])))
    brows = np.minimum(brows, 0.6 * np.array(skin))  # a brow is never lighter than the skin
    hairy = rng.random() < 0.92
    return Looks(
        skin=skin,
        lips=_colour(lips),
        iris=_near(_IRIS[int(rng.choice(6, p=[0.3, 0.2, 0.2, 0.14, 0.08, 0.08]))], 0.2, rng),
        hair=hair,
        brows=_colour(brows),
        clothes=_linear(rng.uniform(0, 255, 3)),
        brow_width=float(rng.uniform(0.3, 0.75)),
        brow_strength=float(rng.uniform(0.45, 0.95)),
        lash_strength=float(rng.uniform(0.15, 0.8)),
        hairline=float(rng.uniform(6.3, 10.5)) if hairy else 18.0,
        hair_peak=float(rng.uniform(-0.5, 1.0)),
        hair_recede=float(rng.exponential(0.6)),
        hair_volume=float(rng.uniform(0.1, 2.8)),
        long_hair=float(rng.uniform(2, 20)) if rng.random() < 0.4 else 0.0,
        beard=float(rng.uniform(0.15, 1)) if rng.random() < 0.25 else 0.0,
        blotches=float(rng.uniform(0.05, 0.3)),
        freckles=float(rng.uniform(0.2, 0.8)) if rng.random() < 0.12 else 0.0,
        blush=float(rng.uniform(0, 0.5)),
        gloss=float(rng.uniform(0.05, 0.5)),
        noise=_colour(rng.random(3)),
    )


def _light(skin: Colour, rng: np.random.Generator) -> Light:
    """Draw a lamp somewhere in front or beside, and set the exposure as a camera would: darker faces stay darker."""
    azimuth, height = (
        np.radians(np.clip(rng.normal(0, 45), -110, 110)),
        np.radians(np.clip(rng.normal(28, 25), -35, 80)),
    )
    direction = (np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height))
    lamp = rng.uniform(0.15, 1.3)
    sky = rng.uniform(0.15, 0.6) * _tint(rng)
    ground = sky * rng.uniform(0.3, 1.0)
    lit = 0.6 * lamp + 0.4 * float(sky.mean() + ground.mean())
    brightness = float(np.mean(skin))
    wanted = rng.uniform(0.10, 0.42) * (brightness / 0.3) ** 0.55
    return Light(
        direction=_colour(np.array(direction)),
        colour=_colour(lamp * _tint(rng)),
        sky=_colour(sky),
        ground=_colour(ground),
        exposure=float(wanted / (brightness * lit)),
    )


def _background(pictures: Sequence[Path], rng: np.random.Generator) -> Background:
    vivid = rng.uniform(0.05, 0.8)
    first, second, third = (_colour(rng.random() * (1 - vivid) + vivid * rng.random(3)) for _ in range(3))
    kind = _BEHIND[int(rng.choice(4, p=[0.1, 0.25, 0.5, 0.15]))]
    path = None
    if pictures and rng.random() < 0.5:
        kind, path = _BEHIND[-1], str(pictures[int(rng.integers(len(pictures)))])
    return Background(
        kind=kind,
        colours=(first, second, third),
        cells=int(rng.integers(2, 16)),
        angle=float(rng.uniform(0, 360)),
        seed=int(rng.integers(2**31)),
        path=path,
        blur=float(rng.choice([0.0, 0.004, 0.015])),
    )


def _glasses(rng: np.random.Generator) -> Glasses:
    dark = rng.random() < 0.7
    return Glasses(
        colour=_linear(rng.uniform(5, 50, 3) if dark else rng.uniform(30, 220, 3)),
        width=float(rng.uniform(4.6, 6.0)),
        height=float(rng.uniform(3.0, 4.8)),
        roundness=float(rng.uniform(0.1, 1)),
        thickness=float(rng.uniform(0.06, 0.25)),
        lower=float(rng.uniform(0, 0.6)),
        lens=_linear(rng.uniform(0, 60, 3)) if rng.random() < 0.2 else None,
    )


def _occluder(skin: Colour, rng: np.random.Generator) -> Occluder:
    kind = _BEFORE[int(rng.choice(3, p=[0.3, 0.3, 0.4]))]
    bright, dark = srgb_colour(skin), srgb_colour(_colour(0.5 * np.array(skin)))
    colours = (bright, dark) if kind == "hand" else (_colour(rng.random(3)), _colour(rng.random(3)))
    angle = rng.uniform(0, 2 * np.pi)
    reach = rng.uniform(0.12, 0.5)
    size = rng.uniform(0.05, 0.16, 2) if kind != "hand" else rng.uniform(0.09, 0.17) * np.array([1.0, 1.2])
    return Occluder(
        kind=kind,
        centre=(float(0.5 + reach * np.cos(angle)), float(0.5 + reach * np.sin(angle))),
        size=(float(size[0]), float(size[1])),
        angle=float(rng.uniform(0, 360)),
        colours=colours,
        sway=(float(rng.normal(0, 0.06)), float(rng.normal(0, 0.06))),
        rate=float(rng.uniform(0.1, 0.8)),
    )


def _between(anchors: Sequence[tuple[int, int, int]], rng: np.random.Generator) -> Colour:
    place = rng.uniform(0, len(anchors) - 1)
    table = np.array(anchors, float)
    mixed = np.array([np.interp(place, np.arange(len(anchors)), table[:, channel]) for channel in range(3)])
    return _linear(mixed * (1 + rng.normal(0, 0.03, 3)))


def _near(anchor: tuple[int, int, int], spread: float, rng: np.random.Generator) -> Colour:
    return _linear(np.array(anchor) * np.exp(rng.normal(0, spread)) * (1 + rng.normal(0, 0.05, 3)))


def _tint(rng: np.random.Generator) -> Array:
    """Return (3,) around 1: warm to cold, sometimes a coloured lamp."""
    warmth = rng.normal(0, 0.12)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    if rng.random() < 0.06:
        tint = tint * rng.uniform(0.3, 1.0, 3)
    return np.clip(tint, 0.1, 2)


def _linear(srgb: Array) -> Colour:
    """Return linear light of sRGB in 0..255."""
    value = np.clip(srgb, 0, 255) / 255
    return _colour(np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4))


def _colour(values: Array) -> Colour:
    red, green, blue = np.asarray(values, float).round(5).tolist()
    return red, green, blue
