"""Crops: landmarks stay on what they name, whatever the crop does."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qlot.model.layout import load_layout
from qlot.runtime.bundle.defaults import CROP
from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.crop import crop_of, fit_crop, sample_crop, to_frame
from qlot.training.data.augment import Augment
from qlot.training.data.batch import SampleMaker
from qlot.training.data.clip import Array, Clip, DataError, Image
from qlot.training.data.crops import Disturbance, apply_map, crop_clip, disturbed_paths, rule_box, warp

S, NOSE = 96, 30
POINTS = load_layout("ibug68").points
NONE = Disturbance(scale=0, shift=0, rotation=0, aspect=0, shear=0, perspective=0, still=1)


def _face(scale: float = 45.0, x: float = 110.3, y: float = 120.7) -> Array:
    """Return (68, 2) pixels of a face that looks straight ahead."""
    return (x, y) + POINTS[:, :2] * (scale, -scale)


def _blob(at: Array, sigma: float, size: int = 240) -> Image:
    y, x = np.mgrid[:size, :size]
    blob = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))
    return np.rint(250 * blob)[..., None].repeat(3, -1).astype(np.uint8)


def _clip(landmarks: Array, pictures: list[Image], **changes: object) -> Clip:
    fields: dict[str, Any] = {
        "landmarks": np.stack([landmarks] * len(pictures)),
        "valid": np.ones((len(pictures), 68), np.bool_),
    }
    return Clip(pictures, queries=POINTS, layout="ibug68", identity="one", source="picture.jpg", **(fields | changes))


def _centroid(crop: Image) -> Array:
    weight = crop[..., 0].astype(np.float64)
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), scale=st.floats(25, 90))
def test_a_blob_at_a_landmark_is_found_where_the_landmark_goes(seed: int, scale: float) -> None:
    """Over crops that shrink and enlarge, with rotation, shear, perspective and motion."""
    landmarks = _face(scale)
    clip = _clip(landmarks, [_blob(landmarks[NOSE], 0.05 * scale)] * 3)
    crops, mapped = crop_clip(clip, S, Disturbance(still=0.2), np.random.default_rng(seed))
    assert crops.shape == (3, S, S, 3) and mapped.shape == (3, 68, 2)
    for crop, at in zip(crops, mapped[:, NOSE], strict=True):
        assume((at > 14).all() and (at < S - 15).all())  # the whole blob is seen
        assert np.abs(_centroid(crop) - at).max() < 0.15


def test_half_a_pixel_would_be_seen() -> None:
    """The negative control: a convention that puts pixel edges at integers is half a pixel off after shrinking by 2."""
    landmarks = _face(80)
    box = rule_box(_clip(landmarks, [_blob(landmarks[0], 1)]), 0)
    (path,) = disturbed_paths(box, S, 1, NONE, np.random.default_rng(0))
    edges = path.copy()
    edges[:2, 2] -= 0.5 * (box.side / S - 1)
    crop = warp(_blob(landmarks[NOSE], 4), edges, S, box.side / S)
    assert np.abs(_centroid(crop) - apply_map(np.linalg.inv(path), landmarks[NOSE])).max() > 0.2


@pytest.mark.parametrize("scale", [20.0, 45.0, 90.0])
def test_without_disturbance_it_is_the_contracts_crop(scale: float) -> None:
    landmarks = _face(scale)
    y, x = np.mgrid[:240, :240] / 240
    smooth = np.stack([np.sin(7 * x + 3 * y), np.cos(5 * x - 8 * y), x * y], -1)
    picture = np.rint(smooth * 100 + 120).astype(np.uint8)
    clip = _clip(landmarks, [picture, picture])
    box = rule_box(clip, 0)
    assert box == crop_of(fit_crop(POINTS, landmarks), CROP)
    crops, mapped = crop_clip(clip, S, NONE, np.random.default_rng(0))
    assert to_frame(mapped[1], box, S) == pytest.approx(landmarks, abs=1e-9)
    expected = sample_crop(picture, box, S)[0].transpose(1, 2, 0) * 255
    inside = (apply_map(disturbed_paths(box, S, 1, NONE, np.random.default_rng(0))[0], _grid()) - 119.5).__abs__() < 117
    apart = np.abs(crops[0].astype(np.float64) - expected)[inside.all(-1)]
    assert apart.size > 1000 and apart.max() < 3


def _grid() -> Array:
    return np.stack(np.meshgrid(np.arange(S, dtype=np.float64), np.arange(S)), -1)


def test_outside_of_the_picture_is_black() -> None:
    box = CropBox(0.0, 0.0, 100.0)
    (path,) = disturbed_paths(box, S, 1, NONE, np.random.default_rng(0))
    crop = warp(np.full((200, 200, 3), 200, np.uint8), path, S, box.side / S)
    assert crop[:46].max() == 0 and crop[:, :46].max() == 0 and crop[50:, 50:].min() == 200


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_motion_is_smooth_and_some_clips_have_none(seed: int) -> None:
    box = CropBox(100, 100, 90)
    still = disturbed_paths(box, S, 5, Disturbance(still=1.0), np.random.default_rng(seed))
    assert all(np.array_equal(still[0], m) for m in still)
    moving = disturbed_paths(box, S, 5, Disturbance(still=0.0), np.random.default_rng(seed))
    at = np.stack([apply_map(m, np.array([[47.5, 47.5]])) for m in moving])
    assert 0 < np.abs(np.diff(at, axis=0)).max() < 0.25 * box.side


def test_a_frame_with_few_landmarks_takes_another_frames_crop() -> None:
    landmarks, picture = _face(), np.zeros((9, 9, 3), np.uint8)
    valid = np.ones((3, 68), np.bool_)
    valid[0, 2:] = False
    valid[1, :5] = False
    clip = _clip(landmarks, [picture] * 3, valid=valid)
    moved = dataclasses.replace(clip, landmarks=clip.landmarks + np.arange(3)[:, None, None] * 10.0)
    box = rule_box(moved, 0)  # the last frame has all of them
    assert box.center_x == pytest.approx(rule_box(clip, 2).center_x + 20)


def test_two_landmarks_are_no_face() -> None:
    valid = np.zeros((1, 68), np.bool_)
    valid[0, :2] = True
    clip = _clip(_face(), [np.zeros((9, 9, 3), np.uint8)], valid=valid)
    with pytest.raises(DataError, match=r"^picture\.jpg: 2 valid landmarks; a crop needs 3"):
        rule_box(clip, 0)
    box = CropBox(1, 2, 3)
    assert rule_box(dataclasses.replace(clip, box=box), 0) is box


def test_landmarks_in_one_place_are_no_face() -> None:
    clip = _clip(np.full((68, 2), 7.0), [np.zeros((9, 9, 3), np.uint8)])
    with pytest.raises(DataError, match=r"^picture\.jpg: its landmarks lie in one place"):
        rule_box(clip, 0)


def test_a_face_upside_down_is_turned() -> None:
    landmarks = 2 * np.array([110.0, 120.0]) - _face()
    clip = _clip(landmarks, [_blob(landmarks[NOSE], 3)])
    crops, mapped = crop_clip(clip, S, NONE, np.random.default_rng(0))
    assert _centroid(crops[0]) == pytest.approx(mapped[0, NOSE], abs=0.15)
    assert mapped[0, 8, 1] > mapped[0, 27, 1] + 20  # the chin is below again


def test_a_mirrored_sample_is_the_mirrored_face() -> None:
    """Targets are on the blob in mirrored samples too, and points and targets change side together."""
    landmarks = _face()
    make = SampleMaker(S, 68, Disturbance(), Augment(0))
    clip = _clip(landmarks, [_blob(landmarks[NOSE], 3)])
    mirrored = []
    for seed in range(12):
        crops, points, targets, valid = make(clip, np.random.default_rng(seed))
        at = (targets[0, NOSE] + 1) * S / 2 - 0.5
        assert np.abs(_centroid(crops[0]) - at).max() < 0.15 and valid.all()
        mirrored.append(bool(points[0, 0] != POINTS[0, 0]))
        assert points == pytest.approx(POINTS * (-1 if mirrored[-1] else 1, 1, 1))
        assert np.sign(targets[0, 0, 0] - targets[0, 16, 0]) == np.sign(points[0, 0] - points[16, 0])
    assert 0 < sum(mirrored) < 12
    plain = dataclasses.replace(make, mirror=False)
    assert all(np.array_equal(plain(clip, np.random.default_rng(s))[1], POINTS) for s in range(12))


def test_wild_labels_do_not_count() -> None:
    landmarks = _face()
    landmarks[3] = (5000, 10)
    valid = np.ones((1, 68), np.bool_)
    valid[0, 5] = False
    landmarks[5] = np.nan
    clip = _clip(landmarks, [_blob(landmarks[NOSE], 3)], valid=valid)
    _, _, targets, known = SampleMaker(S, 68, NONE, Augment(0))(clip, np.random.default_rng(0))
    assert np.flatnonzero(~known[0]).tolist() == [3, 5]
    assert np.isfinite(targets).all() and not targets[0, [3, 5]].any()
