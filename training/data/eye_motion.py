"""Eyes that move in pictures: lids close, open and squint, and irises glance, from frame to frame.

A still that is repeated teaches that lids never move, and most material is stills. So the skin above an eye is drawn
down over it as a lid unfolds, the rest of the eye stays behind it, and the iris slides between the corners. Only the
surroundings of the eyes are resampled. The teacher's landmarks there move along: the same maps, forwards.

Lengths are in widths of the eye, from corner to corner: `u` along it, `v` up from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np

from qlot.model.layout import load_layout
from qlot.training.data.clip import Array, Image

Rng = np.random.Generator

LEAST_WIDTH: Final = 8.0  # pixels of an eye, below which there is nothing to see
LEAST_OPEN: Final = 0.12  # of an eye that can still be closed
HIDDEN: Final = 0.7  # closure from which nobody can say where an iris is

_ABOVE, _BELOW = 0.28, 0.2  # as far as the skin is stretched
_RISE: Final = 0.12  # the lower lid's share of the way
_LASHES: Final = 0.03  # below the upper lid's line, they go with it
_LIMBUS: Final = 1.12  # what moves with an iris, in radii: the teacher's are a little small
_MARGIN: Final = 0.03  # of the lids, where there is no eyeball to see
_MIDDLE, _REACH = np.array([0.5, 0.1]), 0.65  # of what is resampled
_TEACHER: Final = load_layout("mediapipe478")


class Eye(NamedTuple):
    """Indices of one eye's landmarks: from the picture's left to its right corner of an upright face."""

    upper: list[int]
    lower: list[int]
    iris: list[int]
    pupil: int


def _eye(side: str) -> Eye:
    ring = list(_TEACHER.groups[f"{side}_eye"])
    x = _TEACHER.points[ring, 0]
    first, last = int(x.argmin()), int(x.argmax())
    turned = ring[first:] + ring[:first]
    halves = turned[: (last - first) % len(ring) + 1], turned[(last - first) % len(ring) :] + turned[:1]
    ways = [halves[0], halves[1][::-1]]
    upper, lower = sorted(ways, key=lambda way: -_TEACHER.points[way, 1].mean())
    return Eye(upper, lower, list(_TEACHER.groups[f"{side}_iris"]), _TEACHER.groups[f"{side}_pupil"][0])


EYES: Final = (_eye("right"), _eye("left"))


@dataclass(frozen=True)
class Move:
    """What an eye does in a frame: closure from 0 to 1, and how far the iris goes, in widths of the eye."""

    closure: float = 0.0
    across: float = 0.0
    up: float = 0.0


def random_moves(frames: int, rng: Rng) -> list[tuple[Move, Move]]:
    """Draw what both eyes do: blinks and glances in every frame anew, or lids and gaze that stay; at times a wink."""
    stays, wink = rng.random() < 0.35, rng.random() < 0.12
    kept, moves = _random_move(rng), []
    for _ in range(frames):
        right = kept if stays else _random_move(rng)
        left = Move(0.0, right.across, right.up) if wink else right
        moves.append((left, right) if wink and rng.random() < 0.5 else (right, left))
    return moves


def _random_move(rng: Rng) -> Move:
    kind = rng.random()
    closure = 0.0 if kind < 0.35 else 1.0 if kind > 0.8 else rng.uniform(0, 1)
    if rng.random() < 0.4:
        return Move(closure)
    return Move(closure, rng.uniform(-0.22, 0.22), rng.uniform(-0.08, 0.08))


def move_eyes(picture: Image, at: Array, moves: tuple[Move, Move]) -> tuple[Image, Array]:
    """Return the picture with its eyes moved, and the landmarks (478, 2) in it; hidden irises are not a number.

    Args:
        picture: (H, W, 3).
        at: (478, 2) the teacher's landmarks, pixels.
        moves: of the subject's right eye and of the left.
    """
    picture, moved = picture.copy(), at.copy()
    for eye, move in zip(EYES, moves, strict=True):
        shape = _Shape.of(eye, at)
        if shape is not None and move != Move():
            shape.fit(move).draw(picture, at, moved)
    return picture, moved


@dataclass(frozen=True)
class _Shape:
    """An eye as it is in a picture."""

    eye: Eye
    origin: Array  # (2,) the corner at u = 0
    axes: Array  # (2, 2) rows: one width along the eye, one width up, pixels
    upper: Array  # (K, 2) u, v
    lower: Array
    iris: Array  # (2,) its centre
    radius: float

    @classmethod
    def of(cls, eye: Eye, at: Array) -> _Shape | None:
        """Return None for an eye that is unknown, too small, closed or seen from the side."""
        if not np.isfinite(at).all():
            return None
        first, last = at[eye.upper[0]], at[eye.upper[-1]]
        along = last - first
        if np.linalg.norm(along) < LEAST_WIDTH:
            return None
        up = np.array([along[1], -along[0]])  # y is down
        axes = np.stack([along, up])
        upper, lower, iris = (_local(at[k], first, axes) for k in (eye.upper, eye.lower, [*eye.iris, eye.pupil]))
        opening = upper[:, 1] - np.interp(upper[:, 0], lower[:, 0], lower[:, 1])
        if opening.max() < LEAST_OPEN or (np.diff(upper[:, 0]) <= 0).any() or (np.diff(lower[:, 0]) <= 0).any():
            return None
        centre = iris[-1]
        return cls(eye, first, axes, upper, lower, centre, float(np.linalg.norm(iris[:-1] - centre, axis=1).mean()))

    def fit(self, move: Move) -> _Moved:
        """Keep an iris between the corners; lids follow a gaze that goes down."""
        room = _LIMBUS * self.radius + 0.02
        low, high = room - self.iris[0], 1 - room - self.iris[0]
        across = float(np.clip(move.across, low, high)) if low < 0 < high else 0.0
        closure = float(np.clip(move.closure + max(0.0, -3 * move.up) * (1 - move.closure), 0, 1))
        return _Moved(self, Move(closure, across, move.up))

    def lids(self, u: Array) -> tuple[Array, Array]:
        """Return v of the upper and of the lower lid at u, 0 beyond the corners."""
        top = np.interp(u, self.upper[:, 0], self.upper[:, 1], 0, 0)
        low = np.interp(u, self.lower[:, 0], self.lower[:, 1], 0, 0)
        return np.maximum(top, low), low


@dataclass(frozen=True)
class _Moved:
    shape: _Shape
    move: Move

    def lids(self, u: Array) -> tuple[Array, Array, Array, Array]:
        """Return v of the lids as they were, upper and lower, and as they are."""
        top, low = self.shape.lids(u)
        way = self.move.closure * (top - low)
        return top, low, top - (1 - _RISE) * way, low + _RISE * way

    def draw(self, picture: Image, at: Array, moved: Array) -> None:
        """Resample the surroundings of the eye in place, and move its landmarks."""
        s = self.shape
        box = (_MIDDLE + _REACH * np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])) @ s.axes + s.origin
        limit = np.array(picture.shape[1::-1])
        (x0, y0), (x1, y1) = (np.clip(f, 0, limit).astype(int) for f in (np.floor(box.min(0)), np.ceil(box.max(0)) + 1))
        if x1 <= x0 or y1 <= y0:
            return
        grid = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1).reshape(-1, 2).astype(np.float64)
        local = _local(grid, s.origin, s.axes)
        came = self._back(local)
        changed = (came != local).any(1)
        source = np.where(changed[:, None], came @ s.axes + s.origin, grid).astype(np.float32)
        maps = source.reshape(y1 - y0, x1 - x0, 2)
        picture[y0:y1, x0:x1] = cv2.remap(picture, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        near = np.abs(_local(at, s.origin, s.axes) - _MIDDLE).max(1) < _REACH
        near[[i for e in EYES for i in (*e.iris, e.pupil)]] = False
        moved[near] = self._forward(_local(at[near], s.origin, s.axes)) @ s.axes + s.origin
        ball = [*s.eye.iris, s.eye.pupil]
        shift = np.array([self.move.across, self.move.up]) @ s.axes
        moved[ball] = np.nan if self.move.closure >= HIDDEN else at[ball] + shift

    def _back(self, p: Array) -> Array:
        """Return where in the picture as it was (P, 2) what is seen at p lay."""
        u, v = p.T
        top, low, new_top, new_low = self.lids(u)
        above, below = top + _ABOVE, low - _BELOW
        lid = above - (above - v) * (above - top + _LASHES * (top > low)) / np.maximum(above - new_top, 1e-6)
        under = below + (v - below) * (low - below) / np.maximum(new_low - below, 1e-6)
        at_u, at_v = u.copy(), v.copy()
        closes = (new_top != top) | (new_low != low)
        at_v = np.where(closes & (v >= new_top) & (v < above), lid, at_v)
        at_v = np.where(closes & (v <= new_low) & (v > below), under, at_v)
        within = (v < new_top) & (v > new_low)
        ball_u, ball_v = self._ball(u[within], v[within])
        at_u[within], at_v[within] = ball_u, ball_v
        return np.stack([at_u, at_v], 1)

    def _ball(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Return where the eyeball's picture seen at (u, v) lay: the iris moves whole, the white gives way."""
        s, (across, up) = self.shape, (self.move.across, self.move.up)
        if not (across or up):
            return u, v
        reach = _LIMBUS * s.radius
        knots = np.array([0, s.iris[0] - reach, s.iris[0] + reach, 1])
        new = np.array([0, knots[1] + across, knots[2] + across, 1])
        if (np.diff(knots) <= 0).any() or (np.diff(new) <= 0).any():
            return u, v
        came = np.interp(u, new, knots)
        top, low = s.lids(came)
        room = np.minimum(_MARGIN, (top - low) / 4)
        return came, np.clip(v - up, low + room, top - room)

    def _forward(self, p: Array) -> Array:
        u, v = p.T
        top, low, new_top, new_low = self.lids(u)
        above, below = top + _ABOVE, low - _BELOW
        lid = above - (above - v) * (above - new_top) / np.maximum(above - top, 1e-6)
        under = below + (v - below) * (new_low - below) / np.maximum(low - below, 1e-6)
        middle = (top + low) / 2
        v = np.where((v >= middle) & (v < above), lid, np.where((v < middle) & (v > below), under, v))
        return np.stack([u, v], 1)


def _local(at: Array, origin: Array, axes: Array) -> Array:
    """Return pixels (P, 2) in widths of an eye."""
    return (at - origin) @ np.linalg.inv(axes)
