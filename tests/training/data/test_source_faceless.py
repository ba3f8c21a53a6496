"""Faceless material: no face in it, and the form of a clip without one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlot.model.layout import load_layout
from qlot.runtime.geometry import CropBox
from qlot.training.data.clip import Clip
from qlot.training.data.sources.faceless import Faceless, beside, covered, shuffled

LAYOUT = load_layout("ibug68")
HEIGHT, WIDTH = 180, 240
FACE = CropBox(80.0, 90.0, 100.0)


def _landmarks() -> np.ndarray:
    """The layout's points, upright, in the crop that the rule lays around them."""
    return FACE.side / 2.4 * (LAYOUT.points[:, :2] * (1, -1) - (0, 0.34)) + (FACE.center_x, FACE.center_y)


def _picture() -> np.ndarray:
    """Every pixel differs from its neighbours, so that one is found again where it went."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x, y, (x + y) % 256], -1).astype(np.uint8)


class _Faces:
    """Two labelled stills of the same made-up face."""

    name = "made-up"

    def __len__(self) -> int:
        return 2

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        points = np.repeat(_landmarks()[None], length, 0)
        valid = np.ones(points.shape[:2], np.bool_)
        return Clip((_picture(),) * length, points, valid, LAYOUT.points, LAYOUT.name, self.identity(index), "made-up")

    def identity(self, index: int) -> str:
        return f"person {index}"


def _kind(clip: Clip) -> str:
    return clip.source.removeprefix("faceless: ").split()[0].strip(",")


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), index=st.integers(0, 4), length=st.integers(1, 6))
def test_every_clip_is_faceless_and_says_where_to_look(seed: int, index: int, length: int) -> None:
    source = Faceless(load_layout("wflw98"), _Faces(), textures=3)
    clip = source.clip(index, length, np.random.default_rng(seed))
    assert len(source) == 5 and len(clip.frames) == length
    assert not clip.has_face and clip.landmarks.shape == (length, 98, 2) and clip.layout == "wflw98"
    assert clip.box is not None and clip.box.side > 0
    height, width = clip.frames[0].shape[:2]
    assert all(f.shape == (height, width, 3) and f.dtype == np.uint8 for f in clip.frames)
    assert -height < clip.box.center_y < 2 * height and -width < clip.box.center_x < 2 * width
    again = source.clip(index, length, np.random.default_rng(seed))
    assert again.box == clip.box and again.source == clip.source
    assert all(np.array_equal(a, b) for a, b in zip(again.frames, clip.frames, strict=True))


def test_all_ways_occur() -> None:
    source = Faceless(LAYOUT, _Faces(), textures=0)
    kinds = {_kind(source.clip(0, 1, np.random.default_rng(seed))) for seed in range(40)}
    assert kinds == {"beside", "covered", "shuffled"}


def test_what_is_made_of_a_face_keeps_its_identity() -> None:
    source = Faceless(LAYOUT, _Faces(), textures=2)
    identities = [source.identity(i) for i in range(len(source))]
    assert identities[:2] == ["person 0", "person 1"] and len(set(identities)) == 4
    assert [source.clip(i, 1, np.random.default_rng(0)).identity for i in range(4)] == identities


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_a_crop_beside_the_face_shows_little_of_it_and_no_part_enlarged(seed: int) -> None:
    box = beside(_picture(), FACE, np.random.default_rng(seed))
    if box is None:
        return
    inside = np.abs(_landmarks() - (box.center_x, box.center_y)).max(-1) < box.side / 2
    assert inside.mean() < 0.35


def test_a_face_that_fills_the_picture_has_nothing_beside_it() -> None:
    close = CropBox(WIDTH / 2, HEIGHT / 2, 3.0 * WIDTH)
    assert all(beside(_picture(), close, np.random.default_rng(seed)) is None for seed in range(20))
    assert any(beside(_picture(), FACE, np.random.default_rng(seed)) for seed in range(20))


@pytest.mark.parametrize("seed", range(5))
def test_no_tile_of_the_face_keeps_its_place(seed: int) -> None:
    picture = _picture()
    out = shuffled(picture, FACE, np.random.default_rng(seed))
    changed = (out != picture).any(-1)
    core = changed[45:130, 35:120]
    assert core.mean() > 0.99
    assert not changed[:39].any() and not changed[:, 131:].any()  # outside the crop nothing changes
    count = sorted(map(bytes, out[40:140, 30:130].reshape(-1, 3)))
    assert count == sorted(map(bytes, picture[40:140, 30:130].reshape(-1, 3)))  # the same pixels, elsewhere


@pytest.mark.parametrize("seed", range(12))
def test_every_landmark_is_covered(seed: int) -> None:
    picture, landmarks = _picture(), _landmarks()
    landmarks[0] = (25, 150)  # also one outside the usual square
    rng = np.random.default_rng(seed)
    out = covered(picture, landmarks, FACE, rng)
    changed = cv2.dilate((out != picture).any(-1).astype(np.uint8), np.ones((3, 3), np.uint8))  # equal by chance
    x, y = np.rint(landmarks).astype(int).T
    assert changed[y, x].all()
    assert not changed.all()


def test_drifting_frames_are_windows_that_move_smoothly() -> None:
    """The pixels tell where they come from: red is x, green is y."""
    source = Faceless(LAYOUT, _Faces(), textures=0)
    moving = 0
    for seed in range(40):
        clip = source.clip(0, 8, np.random.default_rng(seed))
        if _kind(clip) != "beside":
            continue
        corners = np.array([frame[0, 0, :2] for frame in clip.frames], int)
        if clip.fps is None:
            assert all(frame is clip.frames[0] for frame in clip.frames)
            continue
        moving += 1
        assert clip.fps == 25 and clip.box is not None
        assert 0 < np.ptp(corners, axis=0).max() <= 0.2 * clip.box.side + 1
        assert np.abs(np.diff(corners, axis=0)).max() <= 0.04 * clip.box.side + 1  # 8 rad/s, a tenth of the side
        assert np.shares_memory(clip.frames[0], clip.frames[1])
    assert moving > 2
