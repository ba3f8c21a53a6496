"""The crop: sampled as written, fitted by least squares, and still unless it has to move."""

from __future__ import annotations

import json
import math
import time
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlot.runtime.bundle.manifest import TrackingSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.crop import CropPolicy, Fit, crop_of, fit_crop, sample_crop, to_frame
from tests.runtime.crop_vectors import BOXES, SPEC, picture, sample_by_definition, vectors

TRACKING = TrackingSpec()
STORED = json.loads((files("qlot.runtime.contract") / "crop_vectors.json").read_text())
boxes = st.builds(CropBox, st.floats(-60, 80), st.floats(-60, 80), st.floats(0.5, 200))


def test_the_stored_vectors_are_what_the_rules_give() -> None:
    def close(a: object, b: object) -> None:
        if isinstance(a, dict):
            assert isinstance(b, dict) and a.keys() == b.keys()
            for key in a:
                close(a[key], b[key])
        elif isinstance(a, (list, tuple)):
            assert isinstance(b, (list, tuple)) and len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                close(x, y)
        else:
            assert a == (pytest.approx(b, abs=1e-6) if isinstance(b, float) else b)

    close(json.loads(json.dumps(vectors())), STORED)


@pytest.mark.parametrize("case", STORED["sampler"]["cases"], ids=lambda c: c["name"])
def test_sampler_reproduces_the_stored_vectors(case: dict[str, list[float]]) -> None:
    crop = sample_crop(picture(), CropBox(*case["box"]), size := case["size"])
    assert crop.dtype == np.float32 and crop.shape == (1, 3, size, size) and crop.flags.c_contiguous
    np.testing.assert_allclose(crop.ravel(), case["expected"], atol=2e-6)


def test_vectors_contain_the_hard_cases() -> None:
    crops = {name: sample_crop(picture(), *case) for name, case in BOXES.items()}
    assert not crops["outside the frame"].any()
    np.testing.assert_allclose(
        crops["identity: pixels map one to one"][0, :, 0:8], picture().transpose(2, 0, 1)[:, 0:8, 2:10] / 255, atol=1e-6
    )
    assert crops["over the left and upper edge"][0, :, 0, 0].max() == 0 < crops["over the left and upper edge"].max()


@given(boxes, st.integers(1, 40), st.integers(8, 50), st.integers(8, 50), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_sampler_follows_its_definition(box: CropBox, size: int, height: int, width: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_allclose(sample_crop(rgb, box, size), sample_by_definition(rgb, box, size), atol=3e-6)


@pytest.mark.parametrize("side", [16.0, 40.0, 100.0, 260.0])
def test_positions_and_pixels_agree(side: float) -> None:
    """A smooth ramp sampled at crop pixel u has the ramp's value at u's frame position."""
    y, x = np.mgrid[:300, :300]
    rgb = np.stack([x * 0.8, y * 0.8, 0 * x], -1).round().astype(np.uint8)
    box = CropBox(151.3, 148.6, side)
    crop = sample_crop(rgb, box, 32)[0] * 255 / 0.8
    at = to_frame(np.stack(np.meshgrid(np.arange(32), np.arange(32)), -1), box, 32)
    np.testing.assert_allclose(crop[0], at[..., 0], atol=0.7)
    np.testing.assert_allclose(crop[1], at[..., 1], atol=0.7)


def test_reduction_averages_instead_of_picking() -> None:
    """Negative control for aliasing: a one-pixel checkerboard must become grey, whatever the phase."""
    y, x = np.mgrid[:240, :240]
    board = np.repeat((255 * ((x + y) % 2)).astype(np.uint8)[..., None], 3, -1)
    for center in (119.5, 119.8, 120.0):
        crop = sample_crop(board, CropBox(center, center, 160.0), 20)
        assert abs(crop - 0.5).max() < 0.02


def test_a_constant_frame_stays_constant_inside() -> None:
    rgb = np.full((50, 50, 3), 200, np.uint8)
    np.testing.assert_allclose(sample_crop(rgb, CropBox(24.7, 25.1, 30.0), 17), 200 / 255, atol=1e-6)


def test_strided_views_give_the_same_crop() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    box = CropBox(25.2, 18.0, 33.0)
    for view in (rgb[::-1, ::-1], np.rot90(rgb), rgb[::2, 1::3], np.asfortranarray(rgb)):
        np.testing.assert_array_equal(sample_crop(view, box, 16), sample_crop(view.copy(), box, 16))


def test_an_enormous_crop_costs_no_memory_and_is_black() -> None:
    assert sample_crop(picture(), CropBox(0.0, 0.0, 1e15), 64).max() < 1e-6


def test_no_thread_but_the_callers_works_on_it() -> None:
    """BLAS has threads of its own, which nothing that `--threads` reaches can stop: their time would count here."""
    rgb = np.zeros((1080, 1920, 3), np.uint8)
    sample_crop(rgb, CropBox(960.0, 540.0, 972.0), 128)
    process, thread = time.process_time(), time.thread_time()
    for _ in range(3):
        sample_crop(rgb, CropBox(960.0, 540.0, 972.0), 128)
    process, thread = time.process_time() - process, time.thread_time() - thread
    assert process < 1.2 * thread


@given(
    st.floats(0.5, 500), st.floats(-2000, 2000), st.floats(-2000, 2000), st.floats(0, 0.2), st.integers(0, 2**32 - 1)
)
@settings(deadline=None)
def test_fit_recovers_scale_and_place(scale: float, tx: float, ty: float, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (30, 3))
    exact = points[:, :2] * (scale, -scale) + (tx, ty)
    fit = fit_crop(points, exact)
    assert (fit.scale, fit.tx, fit.ty) == pytest.approx((scale, tx, ty), rel=1e-6, abs=1e-6)
    assert fit.residual == pytest.approx(0, abs=1e-6) and fit.sound
    noisy = exact + rng.normal(0, noise * scale + 1e-3, exact.shape)
    best = fit_crop(points, noisy)
    for change in ((1e-3 * scale, 0, 0), (0, 1e-3 * scale, 0), (0, 0, 1e-3 * scale)):
        other = np.array([best.scale, best.tx, best.ty]) + change
        rms = np.sqrt(((noisy - points[:, :2] * (other[0], -other[0]) - other[1:]) ** 2).sum(1).mean())
        assert rms >= best.residual - 1e-9


def test_crop_rule_in_numbers() -> None:
    """Canonical (0, -0.34) lies 0.34 units BELOW the origin in an image; the side is 2.4 units."""
    assert crop_of(Fit(100.0, 200.0, 150.0, 0.0), SPEC) == CropBox(200.0, 150.0 + 34.0, 240.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_fit_of_broken_landmarks_is_not_sound(bad: float) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (5, 3))
    landmarks = points[:, :2] * (10.0, -10.0)
    assert fit_crop(points, landmarks).sound
    assert not fit_crop(points, -landmarks).sound, "turned by 180 degrees: the scale is negative"
    assert not fit_crop(points, np.zeros((5, 2))).sound
    landmarks[2, 0] = bad
    with np.errstate(invalid="ignore"):
        assert not fit_crop(points, landmarks).sound


START = CropBox(200.0, 150.0, 100.0)


def test_jitter_inside_the_band_never_moves_the_crop() -> None:
    rng = np.random.default_rng(3)
    policy = CropPolicy(START)
    for _ in range(500):
        dx, dy, z = rng.uniform(-1, 1, 3) * (0.02, 0.02, 0.05)
        policy = policy.follow(CropBox(200 + 100 * dx, 150 + 100 * dy, 100 * math.exp(z)), 1 / 30, TRACKING)
        assert policy == CropPolicy(START)


@pytest.mark.parametrize(
    "target", [CropBox(206.0, 150.0, 100.0), CropBox(200.0, 150.0, 110.0), CropBox(203.0, 153.0, 93.0)]
)
def test_beyond_the_band_the_crop_settles_on_the_target_and_rests(target: CropBox) -> None:
    policy, gaps = CropPolicy(START), []
    for _ in range(60):
        policy = policy.follow(target, 1 / 60, TRACKING)
        gaps.append(abs(policy.box.center_x - target.center_x) + abs(policy.box.side - target.side))
    assert all(b <= a for a, b in pairwise(gaps))
    assert not policy.moving and gaps[-1] < 0.2 * 0.06 * 110 + 0.2 * 0.03 * 110
    assert policy.follow(target, 1 / 60, TRACKING) == policy, "at rest, not creeping"


def test_the_approach_is_exponential_in_seconds() -> None:
    target = CropBox(220.0, 150.0, 100.0)
    policy = CropPolicy(START).follow(target, TRACKING.crop_time_constant, TRACKING)
    assert policy.box.center_x == pytest.approx(220 - 20 / math.e) and policy.moving


@pytest.mark.parametrize(
    "target", [CropBox(226.0, 150.0, 100.0), CropBox(200.0, 150.0, 130.0), CropBox(200.0, 150.0, 75.0)]
)
def test_jumps_are_followed_at_once(target: CropBox) -> None:
    assert CropPolicy(START).follow(target, 1e-3, TRACKING) == CropPolicy(target)


def _run(rate: int, seconds: float, path: str) -> dict[float, CropBox]:
    def target(t: float) -> CropBox:
        if path == "still":
            return CropBox(200 + math.sin(37 * t), 150 + math.cos(23 * t), 100.0)
        if path == "ramp":
            return CropBox(200 + 40 * t, 150 - 10 * t, 100 * math.exp(0.1 * t))
        if path == "jump":
            return START if t < 0.5 else CropBox(300.0, 150.0, 100.0)
        return CropBox(200 + 30 * math.sin(2 * t), 150 + 10 * math.sin(3 * t), 100 * math.exp(0.2 * math.sin(t)))

    policy, out = CropPolicy(START), {}
    for i in range(1, round(seconds * rate) + 1):
        policy = policy.follow(target(i / rate), 1 / rate, TRACKING)
        if i * 15 % rate == 0:
            out[i * 15 // rate / 15] = policy.box
    return out


@pytest.mark.parametrize(("path", "bound"), [("still", 0.0), ("jump", 0.0), ("ramp", 0.05), ("sway", 0.06)])
def test_the_crop_moves_alike_at_15_30_and_60_frames_per_second(path: str, bound: float) -> None:
    """Bound as a share of the side: within a frame of 1/15 s the ramp travels 0.027, and the band is 0.03."""
    slow, middle, fast = (_run(rate, 4.0, path) for rate in (15, 30, 60))
    assert slow.keys() == middle.keys() == fast.keys() and len(slow) == 60
    for t, box in fast.items():
        for other in (slow[t], middle[t]):
            apart = math.hypot(box.center_x - other.center_x, box.center_y - other.center_y) / box.side
            assert apart <= bound and abs(math.log(other.side / box.side)) <= bound


def test_the_crop_keeps_up_with_a_ramp() -> None:
    for rate in (15, 30, 60):
        for t, box in _run(rate, 4.0, "ramp").items():
            lag = abs(box.center_x - (200 + 40 * t)) / box.side
            assert lag < 0.4 * TRACKING.crop_time_constant + 0.4 / rate + TRACKING.hold_shift
