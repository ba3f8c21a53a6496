"""ICT-FaceKit: a morphable face (Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020; MIT).

A face is the neutral mesh plus identity modes plus expression modes, in cm: x to the face's left (right in a picture of
it), y up, z out of the face. The published expressions leave the eyeballs where they are; here the `eyeLook` weights
turn them as well, so that gaze is part of the expression.

The file is an .npz: `neutral` (V, 3), `faces` (T, 3), `identity` (100, V, 3), `expression` (53, V, 3),
`expression_names` (53,), `lm68` (68,) vertex indices.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlot.training.data.clip import Array, DataError

Indices = NDArray[np.int64]
Half = NDArray[np.float16]

VERTICES: Final = 26719
IDENTITIES: Final = 100
EXPRESSIONS: Final = 53

# Canonical points of QLOT's queries: the neutral person with the mouth a little open, moved and scaled.
CANONICAL_EXPRESSION: Final = {"jawForward": 0.5, "jawOpen": 0.4}
CANONICAL_CENTRE: Final = (0.0, 1.1124374, 7.552391)  # cm
CANONICAL_SCALE: Final = 7.5423789  # cm per canonical unit

# Vertex ranges of the mesh's parts, as ICT-FaceKit's README lists them.
FACE: Final = slice(0, 9409)
HEAD_AND_NECK: Final = slice(9409, 11248)
MOUTH_SOCKET: Final = slice(11248, 13294)
EYE_SOCKETS: Final = slice(13294, 14062)
GUMS_AND_TONGUE: Final = slice(14062, 17039)
TEETH: Final = slice(17039, 21451)
EYEBALLS: Final = (slice(21451, 23021), slice(23021, 24591))  # left, right
LACRIMAL: Final = slice(24591, 24795)
EYE_BLEND_AND_OCCLUSION: Final = slice(24795, 25351)  # transparent layers
LASHES: Final = slice(25351, 26719)

# A full weight turns an eyeball by this much; chosen so that the lids of the same weight follow the iris.
_GAZE_DEGREES: Final = {"In": 30.0, "Out": 30.0, "Up": 25.0, "Down": 30.0}


@dataclass(frozen=True, eq=False)
class Person:
    """Some vertices of one identity: what is left is to add expressions."""

    rest: Array  # (n, 3) cm, neutral expression
    modes: NDArray[np.float32]  # (53, n, 3) cm per unit weight
    eyes: tuple[
        tuple[Indices, Array], ...
    ]  # left and right: which of the vertices turn with the eyeball; its centre (3,)
    names: tuple[str, ...]

    def positions(self, expression: ArrayLike) -> Array:
        """Return (..., n, 3) cm for expression weights (..., 53), usually within [0, 1]."""
        weights = np.asarray(expression, float)
        used = np.flatnonzero(weights.reshape(-1, len(self.names)).any(0))
        moved = np.tensordot(weights[..., used].astype(np.float32), self.modes[used], 1)
        placed = self.rest + moved
        for side, (which, centre) in zip("LR", self.eyes, strict=True):
            if which.size:
                turn = _eyeball_rotation(weights, self.names, side)
                placed[..., which, :] = (placed[..., which, :] - centre) @ np.swapaxes(turn, -1, -2) + centre
        return placed


@dataclass(frozen=True, eq=False)
class FaceModel:
    """The morphable face. Modes stay in fp16 as stored; what is needed of them is converted when it is needed."""

    neutral: Array  # (V, 3) cm
    triangles: NDArray[np.int32]  # (T, 3) vertex indices, counter-clockwise from outside
    identity: Half  # (100, V, 3) cm per standard deviation
    expression: Half  # (53, V, 3) cm per unit weight
    names: tuple[str, ...]  # of the expressions
    lm68: Indices  # (68,) vertices of the 68 points; the jaw line is fixed to the skin, not to the silhouette

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the model.

        Raises:
            DataError: the file is missing, is not an .npz with these arrays, or holds another mesh.
        """
        try:
            with np.load(path) as stored:
                model = cls(
                    stored["neutral"].astype(float),
                    stored["faces"].astype(np.int32),
                    stored["identity"].astype(np.float16),
                    stored["expression"].astype(np.float16),
                    tuple(str(name) for name in stored["expression_names"]),
                    stored["lm68"].astype(np.int64),
                )
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; give the ICT-FaceKit model as an .npz") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a readable ICT-FaceKit model ({error}); convert or copy it again") from error
        model._check(path)
        return model

    def _check(self, path: Path) -> None:
        shapes = (self.neutral.shape, self.identity.shape, self.expression.shape, (len(self.names),), self.lm68.shape)
        mesh = (VERTICES, 3)
        if shapes != (mesh, (IDENTITIES, *mesh), (EXPRESSIONS, *mesh), (EXPRESSIONS,), (68,)):
            raise DataError(f"{path}: arrays of {shapes} are not ICT-FaceKit's full mesh of {VERTICES} vertices")
        wanted = {*CANONICAL_EXPRESSION, *(f"eyeLook{way}_{side}" for way in _GAZE_DEGREES for side in "LR")}
        if missing := wanted - set(self.names):
            raise DataError(f"{path}: expressions {sorted(missing)} are missing; convert ICT-FaceKit's mesh again")

    def person(self, identity: ArrayLike, indices: Indices | None = None) -> Person:
        """Return the given vertices (all of them by default) of the face with identity weights (100,)."""
        rows = np.arange(len(self.neutral)) if indices is None else np.asarray(indices, np.int64)
        part = slice(None) if indices is None else rows
        weights = np.asarray(identity, np.float32)
        rest = self.neutral[part] + np.tensordot(weights, self.identity[:, part].astype(np.float32), 1)
        eyes = []
        for ball in EYEBALLS:
            turning = np.flatnonzero((rows >= ball.start) & (rows < ball.stop))
            if turning.size:
                shift = np.tensordot(weights, self.identity[:, ball].astype(np.float32).mean(1), 1)
                eyes.append((turning, sphere_centre(self.neutral[ball]) + shift))
            else:  # most layouts have no point on an eyeball, and need not pay for its centre
                eyes.append((turning, np.zeros(3)))
        return Person(rest, self.expression[:, part].astype(np.float32), tuple(eyes), self.names)

    def vertices(self, identity: ArrayLike, expression: ArrayLike, indices: Indices | None = None) -> Array:
        """Return (..., n, 3) cm of the given vertices for identity (100,) and expression (..., 53) weights."""
        return self.person(identity, indices).positions(expression)

    def canonical(self, indices: Indices) -> Array:
        """Return the (n, 3) canonical query points of vertices: no unit, x to the right of the picture, y up."""
        neutral = np.zeros(IDENTITIES)
        opened = self.vertices(neutral, self.weights(**CANONICAL_EXPRESSION), indices)
        return (opened - CANONICAL_CENTRE) / CANONICAL_SCALE

    def weights(self, **named: float) -> Array:
        """Return expression weights (53,) from names; `smile=...` style names without a side set both sides.

        Raises:
            ValueError: a name that the model does not have.
        """
        return expression_weights(self.names, **named)


def expression_weights(names: tuple[str, ...], **named: float) -> Array:
    """Return (len(names),) weights; a name without its `_L` or `_R` sets both sides."""
    weights = np.zeros(len(names))
    for name, value in named.items():
        matching = [i for i, known in enumerate(names) if known in (name, f"{name}_L", f"{name}_R")]
        if not matching:
            raise ValueError(f"unknown expression {name!r}; one of {', '.join(names)}")
        weights[matching] = value
    return weights


def sphere_centre(points: Array) -> Array:
    """Return the centre (3,) of the sphere through points (n, 3), by linear least squares on |p|^2 = 2 p.c + k."""
    design = np.column_stack([2 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)[0]
    return np.asarray(solution[:3])


def _eyeball_rotation(weights: Array, names: tuple[str, ...], side: str) -> Array:
    """Return (..., 3, 3) for expression weights (..., 53): first up or down, then to the side."""

    def degrees(way: str) -> Array:
        return np.asarray(weights[..., names.index(f"eyeLook{way}_{side}")] * _GAZE_DEGREES[way])

    outwards = np.radians(degrees("Out") - degrees("In"))
    yaw = outwards if side == "L" else -outwards  # positive turns to +x; the left eye lies there
    pitch = np.radians(degrees("Up") - degrees("Down"))
    cos_y, sin_y, cos_p, sin_p = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    zero = np.zeros_like(yaw)
    rows = [
        [cos_y, -sin_y * sin_p, sin_y * cos_p],
        [zero, cos_p, sin_p],
        [-sin_y, -cos_y * sin_p, cos_y * cos_p],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)
