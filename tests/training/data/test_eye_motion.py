"""Eyes that move in pictures: landmarks go where the picture goes, and nothing else changes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qlot.model.layout import load_layout
from qlot.training.data.clip import Clip
from qlot.training.data.eye_motion import EYES, HIDDEN, Move, move_eyes, random_moves
from qlot.training.data.sources.moving_eyes import MovingEyes

FACE = load_layout("mediapipe478")
SIZE = 200
UNIT = 65  # pixels
WIDTH = 0.36 * UNIT  # of an eye
BALLS = [i for eye in EYES for i in (*eye.iris, eye.pupil)]
OPEN = Move()


def face(turn: float = 0.0) -> NDArray[np.float64]:
    """Return the teacher's landmarks (478, 2) of the canonical face, turned in the picture; degrees."""
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return FACE.points[:, :2] @ np.array([[UNIT * c, UNIT * s], [UNIT * s, -UNIT * c]]) + 100


def places() -> NDArray[np.uint8]:
    """Return a picture whose red and green say where a pixel is."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)


def looked_up(picture: NDArray[np.uint8], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return red and green (K, 2) at places (K, 2)."""
    maps = at.astype(np.float32)[None]
    return cv2.remap(picture, maps, None, cv2.INTER_LINEAR)[0, :, :2].astype(np.float64)


def opening(at: NDArray[np.float64], side: int) -> float:
    """Return how far an upright eye is open at the middle of its upper lid, in its widths."""
    (upper, lower), middle = (at[lid] for lid in EYES[side][:2]), 4
    below = np.interp(upper[middle, 0], lower[:, 0], lower[:, 1])
    return float((below - upper[middle, 1]) / (upper[-1, 0] - upper[0, 0]))


@given(
    closure=st.floats(0, 1),
    across=st.floats(-0.25, 0.25),
    up=st.floats(-0.08, 0.08),
    turn=st.floats(-30, 30),
)
def test_landmarks_go_where_the_picture_goes(closure: float, across: float, up: float, turn: float) -> None:
    at = face(turn)
    moved, now = move_eyes(places(), at, (Move(closure, across, up), Move(closure, across, up)))
    skin = np.delete(np.arange(478), BALLS)
    lids = [i for eye in EYES for i in (*eye.upper, *eye.lower)]
    rest = np.setdiff1d(skin, lids)
    off = np.linalg.norm(looked_up(moved, now[rest]) - at[rest], axis=1)
    # A lid takes its lashes along, 3 % of its width; the colours are whole numbers, and bilinear.
    assert off.max() < 0.03 * WIDTH + 1.6


@given(across=st.floats(-0.2, 0.2), turn=st.floats(-30, 30))
def test_an_iris_moves_whole(across: float, turn: float) -> None:
    at = face(turn)
    moved, now = move_eyes(places(), at, (Move(0, across), Move(0, across)))
    pupils = [eye.pupil for eye in EYES]
    np.testing.assert_allclose(looked_up(moved, now[pupils]), at[pupils], atol=1.6)
    went = np.linalg.norm(now[pupils] - at[pupils], axis=1)
    assert (went <= abs(across) * 1.05 * WIDTH).all()
    for eye in EYES:  # between the corners
        first, last = at[eye.upper[0]], at[eye.upper[-1]]
        share = (now[eye.iris] - first) @ (last - first) / ((last - first) ** 2).sum()
        assert share.min() >= 0 and share.max() <= 1


@pytest.mark.parametrize("closure", [0.0, 0.25, 0.5, 1.0])
def test_lids_close_by_the_share(closure: float) -> None:
    at = face()
    _, now = move_eyes(places(), at, (Move(closure), OPEN))
    assert opening(now, 0) == pytest.approx((1 - closure) * opening(at, 0), abs=0.02)
    np.testing.assert_array_equal(now[EYES[1].upper], at[EYES[1].upper])  # the other one does not
    assert np.isnan(now[EYES[0].pupil]).all() == (closure >= HIDDEN)


def test_only_the_surroundings_of_the_eyes_change() -> None:
    rng = np.random.default_rng(0)
    picture, at = rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8), face()
    before = picture.copy()
    moved, now = move_eyes(picture, at, (Move(1.0), Move(0.5, 0.1)))
    np.testing.assert_array_equal(picture, before)
    changed = np.argwhere((moved != picture).any(-1))[:, ::-1]
    middles = np.stack([at[[*eye.upper, *eye.lower]].mean(0) for eye in EYES])
    assert len(changed) > 100
    assert np.abs(changed[:, None] - middles).max(-1).min(1).max() < 0.8 * WIDTH
    brows = [i for name in ("right_brow", "left_brow") for i in FACE.groups[name]]
    far = [*brows, *FACE.groups["face_oval"]]
    np.testing.assert_allclose(now[far], at[far], atol=1e-9)


@pytest.mark.parametrize("why", ["unknown", "small", "closed"])
def test_an_eye_that_cannot_move_stays(why: str) -> None:
    at = face()
    if why == "unknown":
        at[0] = np.nan
    elif why == "small":
        at = (at - 100) * 0.2 + 100
    else:
        for eye in EYES:
            at[eye.upper[1:-1]] = at[eye.lower[1:-1]]
    picture = places()
    moved, now = move_eyes(picture, at, (Move(1.0, 0.1), Move(1.0, 0.1)))
    np.testing.assert_array_equal(moved, picture)
    np.testing.assert_array_equal(now, at)


def test_what_is_drawn_blinks_winks_and_glances() -> None:
    rng = np.random.default_rng(0)
    clips = [random_moves(2, rng) for _ in range(400)]
    assert clips == [random_moves(2, r) for r in [np.random.default_rng(0)] for _ in range(400)]
    shut = [any(eye.closure == 1 for frame in clip for eye in frame) for clip in clips]
    winks = [any((a.closure == 0) != (b.closure == 0) for a, b in clip) for clip in clips]
    glances = [clip[0][0].across != clip[1][0].across for clip in clips]
    still = [clip[0] == clip[1] for clip in clips]
    for chosen in (shut, winks, glances, still):
        assert 0.04 < np.mean(chosen) < 0.6


class _Stills:
    name = "stills"

    def __len__(self) -> int:
        return 3

    def identity(self, index: int) -> str:
        return f"person {index}"

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        at = np.broadcast_to(face(), (length, 478, 2))
        valid = np.ones((length, 478), bool)
        return Clip([places()] * length, at, valid, FACE.points, "mediapipe478", "a person", "stills")


def test_a_source_of_moving_eyes_hides_the_irises_behind_lids() -> None:
    source, rng = MovingEyes(_Stills(), 1.0), np.random.default_rng(0)
    assert (len(source), source.identity(2)) == (3, "person 2")
    clips = [source.clip(0, 2, rng) for _ in range(60)]
    hidden = [clip for clip in clips if not clip.valid.all()]
    assert 10 < len(hidden) < 60
    for clip in hidden:
        assert set(np.flatnonzero(~clip.valid.all(0))) <= set(BALLS)
    assert any((clip.frames[0] != clip.frames[1]).any() for clip in clips)


def test_without_a_share_nothing_moves() -> None:
    clip = MovingEyes(_Stills(), 0.0).clip(0, 2, np.random.default_rng(0))
    np.testing.assert_array_equal(clip.frames[1], places())
    assert clip.valid.all()
