"""Augmentation: photometric only, the same for the same generator, persistent where the world is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qlot.training.data import augment
from qlot.training.data.augment import Augment

Frames = NDArray[np.uint8]
S = 48


def _clip(length: int = 6, size: int = S) -> Frames:
    """A smooth picture with structure, the same in every frame."""
    small = np.random.default_rng(7).integers(30, 220, (6, 6, 3), np.uint8)
    return np.stack([cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)] * length)


def _dots(length: int, size: int = 65) -> Frames:
    """A round bright dot in the exact middle of a dark picture."""
    y, x = np.mgrid[:size, :size] - size // 2
    dot = np.exp(-(x**2 + y**2) / 18)
    return np.repeat(np.rint(20 + 180 * dot[None, ..., None]), length, 0).repeat(3, -1).astype(np.uint8)


def _centroid(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    weight = np.maximum(frame.astype(np.float64).mean(-1) - 40, 0)
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]] - frame.shape[0] // 2
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), strength=st.floats(0.01, 3), length=st.integers(1, 5), size=st.integers(16, 50))
def test_any_clip_keeps_its_shape_and_is_repeated_by_the_same_generator(
    seed: int, strength: float, length: int, size: int
) -> None:
    clip = _clip(length, size)
    before = clip.copy()
    first, second = (Augment(strength)(clip, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == clip.shape and first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(clip, before)
    assert not np.shares_memory(first, clip)


def test_other_seeds_give_other_clips() -> None:
    clip = _clip()
    results = {Augment()(clip, np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert len(results) > 15  # a few draw nothing at all


def test_the_generator_decides_and_not_what_opencv_drew_before() -> None:
    clip = _clip()
    cv2.setRNGSeed(1)
    first = Augment(2)(clip, np.random.default_rng(3))
    cv2.randn(np.empty((100, 100), np.float32), 0, 1)
    assert np.array_equal(first, Augment(2)(clip, np.random.default_rng(3)))


def test_strength_nought_changes_nothing_and_more_changes_more() -> None:
    clip = _clip()
    assert np.array_equal(Augment(0)(clip, np.random.default_rng(0)), clip)
    weak, strong = (
        np.mean([np.abs(Augment(s)(clip, np.random.default_rng(i)).astype(int) - clip).mean() for i in range(30)])
        for s in (0.3, 1.0)
    )
    assert 0 < weak < strong


@pytest.mark.parametrize("strength", [-0.1, np.nan, np.inf])
def test_a_strength_that_is_no_strength_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength"):
        Augment(strength)


@pytest.mark.parametrize(
    "frames", [np.zeros((S, S, 3), np.uint8), np.zeros((2, S, S, 3), np.float32), np.zeros((0, S, S, 3), np.uint8)]
)
def test_frames_of_another_form_are_refused(frames: Frames) -> None:
    with pytest.raises(ValueError, match=r"\(L, S, S, 3\) uint8"):
        Augment()(frames, np.random.default_rng(0))


@pytest.mark.parametrize("effect", [augment._defocus, augment._move, augment._lose_resolution, augment._compress])
def test_no_effect_moves_a_landmark(effect: object) -> None:
    rng = np.random.default_rng(5)
    for _ in range(10):
        frames = _dots(4)
        effect(frames, rng, 1.0)  # type: ignore[operator]
        assert max(np.abs(_centroid(f)).max() for f in frames) < 0.15  # pixels; 8-bit rounding is most of it


def test_the_centroid_sees_a_shift_of_half_a_pixel() -> None:
    moved = cv2.warpAffine(_dots(1)[0], np.array([[1, 0, 0.5], [0, 1, 0.0]]), (65, 65), borderMode=cv2.BORDER_REPLICATE)
    assert _centroid(moved)[0] == pytest.approx(0.5, abs=0.05)


@given(length=st.floats(0.1, 30), angle=st.floats(0, np.pi))
def test_a_motion_kernel_is_a_centred_line(length: float, angle: float) -> None:
    kernel = augment._line(length, angle).astype(np.float64)
    y, x = np.mgrid[: len(kernel), : len(kernel)] - len(kernel) // 2
    assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1, abs=1e-5)
    assert abs((kernel * x).sum()) < 1e-4 * length and abs((kernel * y).sum()) < 1e-4 * length
    along = np.hypot(x, y)[kernel > 0].max()
    assert length / 2 - 1e-6 <= along + 1.5 and along <= length / 2 + 1.5


def test_colour_is_one_for_the_whole_clip() -> None:
    clip = _clip()
    for seed in range(5):
        out = augment._colour(clip, np.random.default_rng(seed), 1.0)
        assert not np.array_equal(out, clip)
        assert (out == out[0]).all()


def test_a_turn_about_grey_keeps_greys_and_lengths() -> None:
    turn = augment._about_grey(0.4)
    assert turn @ turn.T == pytest.approx(np.eye(3))
    assert turn @ np.ones(3) == pytest.approx(np.ones(3))
    assert not np.allclose(turn, np.eye(3))


def test_noise_is_new_in_each_frame_and_does_not_shift_the_level() -> None:
    frames = np.full((40, S, S, 3), 128, np.uint8)
    augment._add_noise(frames, np.random.default_rng(1), 1.0, dark=True)
    assert not np.array_equal(frames[0], frames[1])
    assert frames.mean() == pytest.approx(128, abs=0.2)
    assert frames.std() > 2


def test_shot_noise_grows_with_the_level() -> None:
    ratios = []
    for seed in range(8):
        levels = np.repeat([40, 200], S // 2).astype(np.uint8)  # left and right half
        frames = np.broadcast_to(levels[:, None], (30, S, S, 3)).copy()
        augment._add_noise(frames, np.random.default_rng(seed), 1.0, dark=False)
        ratios.append(frames[:, :, S // 2 :].std() / max(frames[:, :, : S // 2].std(), 0.1))
    assert np.mean(ratios) > 1.2  # 1 without shot noise, 2.2 with nothing else


def test_low_light_is_dark_for_the_whole_clip() -> None:
    clip = _clip(10)
    for seed in range(10):
        frames = clip.copy()
        augment._expose(frames, np.random.default_rng(seed), 1.0, dark=True)
        assert frames.mean((1, 2, 3)).max() < 0.85 * clip.mean()


def test_an_occluder_covers_a_part_and_moves_smoothly() -> None:
    blank = np.full((12, S, S, 3), 128, np.uint8)
    seen = 0
    for seed in range(60):
        frames = blank.copy()
        augment._occlude(frames, np.random.default_rng(seed), 1.0)
        masks = np.abs(frames.astype(int) - blank).max(-1) > 8
        areas = masks.mean((1, 2))
        assert areas.max() < 0.35  # never the whole face
        present = np.flatnonzero(areas > 0)
        if len(present) < 2 or areas.max() < 0.02:  # hardly in the picture, or of its colour
            continue
        seen += 1
        assert np.array_equal(present, np.arange(present[0], present[-1] + 1))  # there at a stretch
        at = np.array([np.argwhere(masks[t]).mean(0) for t in present])
        assert np.abs(np.diff(at, axis=0)).max() < 0.1 * S
    assert seen > 10
