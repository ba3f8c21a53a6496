"""What is in the picture besides the motion: a person's looks, light, camera, background and what is in the way.

A scene is plain numbers, so that it can be stored as JSON and rendered again. Colours are linear RGB in [0, 1] unless
they say sRGB. Lengths are cm on the head, and shares of the picture's side in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from qlot.training.data.clip import DataError
from qlot.training.data.synthetic.camera import Camera

Colour = tuple[float, float, float]
Point = tuple[float, float]
BackgroundKind = Literal["plain", "gradient", "blotches", "checker", "picture"]
OccluderKind = Literal["ellipse", "rectangle", "hand"]


@dataclass(frozen=True)
class Looks:
    """Colours and hair of a person."""

    skin: Colour = (0.55, 0.32, 0.22)
    lips: Colour = (0.42, 0.13, 0.12)
    iris: Colour = (0.12, 0.07, 0.03)
    hair: Colour = (0.03, 0.02, 0.012)
    brows: Colour = (0.03, 0.02, 0.012)
    clothes: Colour = (0.1, 0.12, 0.2)
    brow_width: float = 0.5  # cm, half
    brow_strength: float = 0.85
    lash_strength: float = 0.6
    hairline: float = 9.0  # cm, see paint.hair_depth; above 15 for none
    hair_peak: float = 0.0  # cm
    hair_recede: float = 0.5  # cm
    hair_volume: float = 1.0  # cm
    long_hair: float = 0.0  # cm below the chin; 0 for none
    beard: float = 0.0  # 0 shaved, 1 full
    blotches: float = 0.1  # unevenness of the skin
    freckles: float = 0.0
    blush: float = 0.2
    gloss: float = 0.15
    noise: tuple[float, float, float] = (0.0, 0.0, 0.0)  # place in the noise texture: another person, other spots


@dataclass(frozen=True)
class Light:
    """One lamp, and light from everywhere that differs between above and below."""

    direction: tuple[float, float, float] = (0.3, 0.5, 0.8)  # to the lamp; right, up, to the camera
    colour: Colour = (1.0, 0.97, 0.92)
    sky: Colour = (0.35, 0.36, 0.4)
    ground: Colour = (0.2, 0.18, 0.16)
    exposure: float = 1.0


@dataclass(frozen=True)
class Background:
    """What is behind the head. A picture is scaled to cover the frame."""

    kind: BackgroundKind = "gradient"
    colours: tuple[Colour, Colour, Colour] = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.25), (0.35, 0.3, 0.3))  # sRGB
    cells: int = 6  # blotches or fields of the checker along a side
    angle: float = 0.0  # degrees
    seed: int = 0
    path: str | None = None  # of a picture
    blur: float = 0.0  # sigma, share of the side


@dataclass(frozen=True)
class Occluder:
    """Something in front of the face, in shares of the picture's side; it sways."""

    kind: OccluderKind
    centre: Point
    size: Point  # half axes
    angle: float  # degrees
    colours: tuple[Colour, Colour]  # sRGB: a gradient along the first axis
    sway: Point = (0.0, 0.0)  # shares of the side, to either side of the centre
    rate: float = 0.5  # Hz


@dataclass(frozen=True)
class Glasses:
    """Frames; of the glass, only dark one is drawn, which hides the eyes."""

    colour: Colour = (0.02, 0.02, 0.02)
    width: float = 5.4  # cm of a lens
    height: float = 3.8
    roundness: float = 0.6  # 0 rectangular, 1 elliptic
    thickness: float = 0.18  # cm, half
    lower: float = 0.3  # cm below the pupils
    lens: Colour | None = None  # of dark glass


@dataclass(frozen=True)
class Scene:
    """Everything but the motion."""

    identity: tuple[float, ...] = (0.0,) * 100
    looks: Looks = field(default_factory=Looks)
    light: Light = field(default_factory=Light)
    camera: Camera = field(default_factory=Camera)
    background: Background = field(default_factory=Background)
    glasses: Glasses | None = None
    occluders: tuple[Occluder, ...] = ()


_SCENE = TypeAdapter(Scene)


def scene_to_json(scene: Scene) -> str:
    """Return a scene as JSON, without loss."""
    return _SCENE.dump_json(scene).decode()


def scene_from_json(text: str, where: str) -> Scene:
    """Return the scene that `scene_to_json` wrote; `where` names its file.

    Raises:
        DataError: not a scene.
    """
    try:
        return _SCENE.validate_json(text)
    except ValidationError as error:
        raise DataError(f"{where}: the scene is not readable ({error.errors()[0]['msg']}); render it again") from error
