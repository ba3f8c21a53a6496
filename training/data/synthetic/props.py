"""Things besides the face mesh: glasses, long hair and shoulders, as small triangle meshes fixed to the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.training.data.clip import Array
from qlot.training.data.synthetic.paint import Material
from qlot.training.data.synthetic.scene import Colour, Glasses, Scene


@dataclass(frozen=True, eq=False)
class Prop:
    """A mesh of one material."""

    positions: Array  # (n, 3) cm, the head's frame
    normals: Array  # (n, 3) unit length
    triangles: NDArray[np.int32]  # (t, 3)
    material: Material
    colour: Colour  # linear


def props_of(scene: Scene, points: Array) -> list[Prop]:
    """Return what a scene has, for a person's 68 points (68, 3) in cm without expression."""
    looks = scene.looks
    props = [ellipsoid((0, -31, -5), (22, 12, 11), Material.PLAIN, looks.clothes)]
    if looks.long_hair > 0 and looks.hairline < 15:
        down = 8 + looks.long_hair  # cm from the eyes to the hair's end, roughly
        props.append(ellipsoid((0, 4 - down / 2, -4), (10.2, 6 + down / 2, 6.5), Material.HAIR, looks.hair))
    if scene.glasses is not None:
        props += glasses(scene.glasses, points)
    return props


def ellipsoid(centre: Colour, radii: Colour, material: Material, colour: Colour) -> Prop:
    """Return an ellipsoid about a centre, axes along x, y, z; lengths in cm."""
    around, across = 32, 16
    azimuth, polar = np.meshgrid(np.linspace(0, 2 * np.pi, around, endpoint=False), np.linspace(0, np.pi, across))
    unit = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    normals = unit / np.array(radii)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    grid = _grid(across, around)
    return Prop((unit * radii + centre).reshape(-1, 3), normals.reshape(-1, 3), grid, material, colour)


def tube(path: Array, radius: float, colour: Colour, closed: bool) -> Prop:
    """Return a tube of a radius (cm) around a line through (k, 3)."""
    sides = 8
    ends = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    if not closed:
        ends[0], ends[-1] = path[1] - path[0], path[-1] - path[-2]
    along = ends / np.linalg.norm(ends, axis=1, keepdims=True)
    # Any direction that no part of a pair of glasses runs along makes a frame across it.
    first = np.cross(along, (0.37, 0.61, 0.7))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(along, first)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    normals = first[:, None] * np.cos(angle)[:, None] + second[:, None] * np.sin(angle)[:, None]
    positions = path[:, None] + radius * normals
    triangles = _grid(len(path) + closed, sides) % (len(path) * sides)
    return Prop(positions.reshape(-1, 3), normals.reshape(-1, 3), triangles, Material.PLAIN, colour)


def glasses(spec: Glasses, points: Array) -> list[Prop]:
    """Return rims, dark glass, bridge and temples for a person's 68 points (68, 3) in cm."""
    left, right = points[42:48].mean(0), points[36:42].mean(0)
    front = points[[27, 19, 24, 37, 44]][:, 2].max() + 0.6
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    # A superellipse: exponent 1 is an ellipse, towards 0 a rectangle.
    bend = 0.25 + 0.75 * spec.roundness
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    rim = np.sign(circle) * np.abs(circle) ** bend * (spec.width / 2, spec.height / 2)
    made = []
    for eye, ear, way in ((left, points[16], 1), (right, points[0], -1)):
        centre = np.array([eye[0] + 0.25 * way, eye[1] - spec.lower])
        flat = rim + centre
        curved = front - 0.035 * flat[:, 0] ** 2 + 0.1
        made.append(tube(np.column_stack([flat, curved]), spec.thickness, spec.colour, closed=True))
        if spec.lens is not None:
            made.append(lens(np.column_stack([flat, curved]), spec.lens))
        hinge = (centre[0] + way * spec.width / 2, centre[1] + 0.6)
        bows = [(*hinge, front - 0.035 * hinge[0] ** 2), (ear[0] + 0.5 * way, hinge[1] + 0.3, ear[2])]
        made.append(tube(np.array(bows), spec.thickness, spec.colour, closed=False))
    inner = [
        (eye[0] + 0.25 * way - way * spec.width / 2, eye[1] - spec.lower + 0.5) for eye, way in ((right, -1), (left, 1))
    ]
    middle = ((inner[0][0] + inner[1][0]) / 2, inner[0][1] + 0.3)
    bridge = np.array([(x, y, front - 0.035 * x * x + 0.1) for x, y in (inner[0], middle, inner[1])])
    return [*made, tube(bridge, spec.thickness, spec.colour, closed=False)]


def lens(rim: Array, colour: Colour) -> Prop:
    """Return the flat glass within a rim (k, 3)."""
    after = np.roll(np.arange(len(rim)), -1)
    fan = np.stack([np.full(len(rim), len(rim)), np.arange(len(rim)), after], -1)
    positions = np.vstack([rim, rim.mean(0)])
    return Prop(positions, np.tile([0.0, 0.0, 1.0], (len(positions), 1)), fan.astype(np.int32), Material.PLAIN, colour)


def _grid(rows: int, columns: int) -> NDArray[np.int32]:
    """Return the triangles of a grid of vertices that closes around its columns."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = row * columns + column, row * columns + (column + 1) % columns
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], 1).reshape(-1, 3).astype(np.int32)
