"""What hides parts of a face: masks, dark glasses, hands, strands of hair, things; or it is gone, or upside down.

Everything is laid out on the canonical face and drawn where the landmarks say that the face is, so a mask sits on the
mouth and dark glasses on the eyes. A hidden landmark stays valid: it is to be guessed, and its covariance learns how
badly. In a frame that shows no face any more, or one that is upside down, no landmark is valid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.model.layout import load_layout
from qlot.training.data.clip import Array, Image

Frames = NDArray[np.uint8]  # (L, S, S, 3) RGB
Alpha = NDArray[np.float32]  # (S, S)
Rng = np.random.Generator
LEAST_POINTS: Final = 6  # to know how a face is turned

_KINDS: Final = ("mask", "glasses", "hand", "hair", "thing", "gone", "turned")
_SHARES: Final = (0.15, 0.13, 0.33, 0.11, 0.12, 0.10, 0.06)
_BITS: Final = 4  # fractional bits of OpenCV's drawing
_FACE: Final = load_layout("wflw98")
_JAW, _BRIDGE = _FACE.points[list(_FACE.groups["jaw"])[4:29]], _FACE.points[_FACE.names.index("nose_bridge_1")]

_ASIDE, _LENS = np.array([0.12, 0, 0]), np.array([0, -0.03, 0.1])


@dataclass(frozen=True)
class Cover:
    """Hides something of a share of the clips."""

    share: float

    def __call__(
        self, frames: Frames, at: Array, points: Array, valid: NDArray[np.bool_], rng: Rng
    ) -> NDArray[np.bool_]:
        """Draw something before the face, or not, in place.

        Args:
            frames: (L, S, S, 3).
            at: (L, N, 2) landmarks, pixels.
            points: (N, 3) canonical.
            valid: (L, N).
            rng: source of all choices.

        Returns:
            (L, N) what is valid now.
        """
        if rng.random() >= self.share or (valid.sum(1) < LEAST_POINTS).any():
            return valid
        return covered_by(str(rng.choice(_KINDS, p=_SHARES)), frames, at, points, valid, rng)


def covered_by(
    kind: str, frames: Frames, at: Array, points: Array, valid: NDArray[np.bool_], rng: Rng
) -> NDArray[np.bool_]:
    """Cover a clip by a mask, glasses, a hand, hair, a thing, or let the face be gone or turned; as `Cover` does.

    Args:
        kind: which of these.
        frames: (L, S, S, 3), drawn into.
        at: (L, N, 2) landmarks, pixels.
        points: (N, 3) canonical.
        valid: (L, N), `LEAST_POINTS` or more in every frame.
        rng: source of all choices.
    """
    if kind in ("gone", "turned"):
        return {"gone": _leave, "turned": _turn}[kind](frames, valid, rng)
    poses = [_pose(points[known], place[known]) for place, known in zip(at, valid, strict=True)]
    draw = {"mask": _mask, "glasses": _glasses, "hand": _hand, "hair": _hair, "thing": _thing}[kind]
    draw(frames, poses, rng)
    return valid


Pose = tuple[Array, Array]  # (3, 2) and (2,): canonical to pixels


def _pose(points: Array, at: Array) -> Pose:
    """Fit how canonical points lie in the picture; depth is kept small where they do not tell it."""
    middle, origin = points.mean(0), at.mean(0)
    a, b = points - middle, at - origin
    turn = np.linalg.solve(a.T @ a + 1e-3 * len(a) * np.eye(3), a.T @ b)
    return turn, origin - middle @ turn


def _seen(pose: Pose, points: Array) -> Array:
    return np.asarray(points @ pose[0] + pose[1], np.float64)


def _scale(pose: Pose) -> float:
    """Return pixels per canonical unit."""
    return float(np.linalg.norm(pose[0][:2], axis=1).mean())


def _fill(shape: tuple[int, ...], outlines: list[Array]) -> Alpha:
    """Return the (S, S) share of each pixel that polygons (K, 2) cover."""
    alpha = np.zeros(shape[:2], np.uint8)
    for outline in outlines:
        cv2.fillPoly(alpha, [np.rint(outline * 2**_BITS).astype(np.int32)], 255, cv2.LINE_AA, _BITS)
    return np.asarray(alpha / np.float32(255), np.float32)


def _blend(frame: Image, colour: Array, alpha: Alpha, rng: Rng, rough: float = 6.0) -> None:
    """Lay a colour (3,) or (S, S, 3) over a frame, uneven as cloth and skin are, darker towards the edge."""
    edge = cv2.GaussianBlur(alpha, (0, 0), max(1.0, 0.03 * len(frame)))
    small = rng.normal(0, rough, (6, 6, 1)).astype(np.float32)
    spots = cv2.resize(small, alpha.shape[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    paint = np.clip(np.asarray(colour, np.float32) * (0.55 + 0.45 * edge[..., None]) + spots, 0, 255)
    frame[:] = np.rint(frame + alpha[..., None] * (paint - frame)).astype(np.uint8)


def _mask(frames: Frames, poses: list[Pose], rng: Rng) -> None:
    cloth = [(225, 232, 238), (120, 170, 205), (30, 30, 34), tuple(rng.integers(0, 256, 3))][int(rng.integers(4))]
    low = rng.random() < 0.15  # worn below the nose
    bridge = _BRIDGE - (0, 0.25 if low else rng.uniform(-0.06, 0.1), 0)
    outline = np.vstack([_JAW * (1.03, 1.03, 1), bridge + _ASIDE, bridge - _ASIDE])
    folds = [np.array([[-0.7, y, 0.25], [0, y - 0.06, 0.75], [0.7, y, 0.25]]) for y in rng.uniform(-1.0, -0.35, 2)]
    for frame, pose in zip(frames, poses, strict=True):
        _blend(frame, np.array(cloth), _fill(frame.shape, [_seen(pose, outline)]), rng)
        for fold in folds:
            _line(frame, _seen(pose, fold), 0.02 * _scale(pose), 0.75 * np.array(cloth), rng)


def _glasses(frames: Frames, poses: list[Pose], rng: Rng) -> None:
    dark, opaque = rng.uniform(0, 70, 3), rng.uniform(0.6, 1)
    wide, high, square = rng.uniform(0.22, 0.3), rng.uniform(0.14, 0.24), rng.uniform(1, 3)
    angle = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    rim = np.stack([np.cos(angle), np.sin(angle)], 1)
    rim = np.sign(rim) * np.abs(rim) ** (1 / square) * (wide, high)
    lenses = []
    for side in ("right_eye", "left_eye"):
        centre = _FACE.points[list(_FACE.groups[side])].mean(0) + _LENS
        lenses.append(np.column_stack([rim, np.zeros(len(rim))]) + centre)
    for frame, pose in zip(frames, poses, strict=True):
        outlines = [_seen(pose, lens) for lens in lenses]
        _blend(frame, dark, np.float32(opaque) * _fill(frame.shape, outlines), rng)
        bridge = np.stack([lenses[0][0], lenses[1][20]])
        _line(frame, _seen(pose, bridge), 0.03 * _scale(pose), dark, rng)


def _hand(frames: Frames, poses: list[Pose], rng: Rng) -> None:
    """Draw a palm with four fingers and a thumb, of the face's own skin or another's."""
    other = rng.uniform(0.2, 1) * np.array([235.0, 190.0, 165.0])
    skin = _skin(frames[0], poses[0]) if rng.random() < 0.6 else other
    skin *= rng.uniform(0.7, 1.15)
    size, turn = rng.uniform(0.45, 0.85), rng.uniform(0, 2 * math.pi)
    place: Array = np.array([[0, -0.7], [0, -0.7], [0.5, -0.4], [-0.5, -0.4], [0.35, 0.1], [-0.35, 0.1], [0, 0.4]])
    centre = place[int(rng.integers(len(place)))] + rng.normal(0, 0.2, 2)
    speed = rng.normal(0, 0.06, 2)
    spread = rng.uniform(0.02, 0.2)
    fingers = [(spread * (i - 1.5), (i - 1.5) * 0.19, 1.0 + 0.1 * (i in (1, 2))) for i in range(4)]
    fingers.append((-0.9, -0.35, 0.65))  # the thumb
    turned = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    for t, (frame, pose) in enumerate(zip(frames, poses, strict=True)):
        middle = _seen(pose, np.array([*(centre + t * speed), 0.5]))
        unit = size * _scale(pose) * turned
        palm = 0.0042 * np.array(cv2.ellipse2Poly((0, 0), (100, 110), 0, 0, 360, 12), np.float64) @ unit + middle
        alpha = _fill(frame.shape, [palm])
        for lean, side, length in fingers:
            root = np.array([side, 0.2 if length > 0.7 else -0.1])
            line = np.stack([root, root + length * np.array([math.sin(lean), math.cos(lean)])]) @ unit + middle
            alpha = np.maximum(alpha, _stroke(frame.shape, line, 0.19 * size * _scale(pose)))
        _blend(frame, skin, alpha, rng)


def _hair(frames: Frames, poses: list[Pose], rng: Rng) -> None:
    """Draw strands from the forehead over an eye or a cheek."""
    tone = rng.uniform(0.05, 0.8) * np.array([255, rng.uniform(190, 240), rng.uniform(130, 235)])
    side = rng.choice([-1, 1])
    t = np.linspace(0, 1, 12)[:, None]
    strands = []
    for _ in range(int(rng.integers(3, 14))):
        top = np.array([rng.uniform(-0.2, 0.6) * side, 0.95, 0.3])
        low = np.array([rng.uniform(0.1, 0.9) * side, rng.uniform(-0.9, 0.3), 0.35])
        bend = np.array([rng.normal(0, 0.25), 0, 0.2])
        strands.append((top + t * (low - top) + 4 * t * (1 - t) * bend, rng.uniform(0.008, 0.05)))
    for frame, pose in zip(frames, poses, strict=True):
        for line, width in strands:
            _line(frame, _seen(pose, line), width * _scale(pose), tone, rng)


def _thing(frames: Frames, poses: list[Pose], rng: Rng) -> None:
    """Draw a cup, a telephone, a microphone: a box or a disc of one or two colours."""
    sides = int(rng.choice([4, 32]))
    angle = np.linspace(0, 2 * math.pi, sides, endpoint=False) + math.pi / sides
    turn = rng.uniform(0, math.pi)
    shape = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.2, 0.6, 2)
    shape = shape @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    centre, speed = np.append(rng.normal((0, -0.4), 0.4), 0.6), np.append(rng.normal(0, 0.06, 2), 0)
    colours = rng.uniform(0, 255, (2, 3))
    for t, (frame, pose) in enumerate(zip(frames, poses, strict=True)):
        outline = _seen(pose, np.column_stack([shape, np.zeros(sides)]) + centre + t * speed)
        share = np.linspace(0, 1, len(frame))[:, None, None]
        paint = np.broadcast_to(colours[0] + share * (colours[1] - colours[0]), frame.shape)
        _blend(frame, paint, _fill(frame.shape, [outline]), rng)


def _leave(frames: Frames, valid: NDArray[np.bool_], rng: Rng) -> NDArray[np.bool_]:
    """From some frame on there is no face: a corner of the picture, enlarged, fills the crop, or a plain thing does."""
    first = int(rng.integers(0, len(frames)))
    size = frames.shape[1]
    side = max(4, size // 5)
    row, column = ((0, size - side)[int(rng.integers(2))] for _ in range(2))
    for t in range(first, len(frames)):
        patch = frames[t, row : row + side, column : column + side].copy()
        if rng.random() < 0.3:
            patch[:] = rng.integers(0, 256, 3)
        frames[t] = cv2.resize(patch, (size, size), interpolation=cv2.INTER_CUBIC)
    valid = valid.copy()
    valid[first:] = False
    return valid


def _turn(frames: Frames, valid: NDArray[np.bool_], rng: Rng) -> NDArray[np.bool_]:
    """From some frame on the picture is upside down, or nearly so, about the middle of the crop."""
    first, middle = int(rng.integers(0, len(frames))), (frames.shape[1] - 1) / 2
    angle, flip = rng.uniform(130, 230), rng.choice([-1, 1])
    for t in range(first, len(frames)):
        turn = cv2.getRotationMatrix2D((middle, middle), flip * angle, 1.0)
        frames[t] = cv2.warpAffine(frames[t], turn, frames.shape[2:0:-1], borderMode=cv2.BORDER_REFLECT)
        angle += rng.normal(0, 4)
    valid = valid.copy()
    valid[first:] = False
    return valid


def _skin(frame: Image, pose: Pose) -> Array:
    """Return the median colour about the nose and cheeks."""
    x, y = np.rint(_seen(pose, np.array([0, -0.25, 0.5]))).astype(int).clip(0, len(frame) - 1)
    reach = max(2, int(0.25 * _scale(pose)))
    near = frame[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach].reshape(-1, 3)
    return np.asarray(np.median(near, axis=0))


def _line(frame: Image, line: Array, width: float, colour: Array, rng: Rng) -> None:
    _blend(frame, colour, _stroke(frame.shape, line, width), rng, 2.0)


def _stroke(shape: tuple[int, ...], line: Array, width: float) -> Alpha:
    alpha = np.zeros(shape[:2], np.uint8)
    path = np.rint(line * 2**_BITS).astype(np.int32)
    cv2.polylines(alpha, [path], False, 255, max(1, round(width)), cv2.LINE_AA, _BITS)
    return np.asarray(alpha / np.float32(255), np.float32)
