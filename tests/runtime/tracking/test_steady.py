"""The steady rule: rests under noise, follows motion at once, keeps to scale, and forgets where the tracker does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlot.runtime.bundle.manifest import SteadySpec
from qlot.runtime.tracking.filters import LandmarkFilter, OneEuro
from qlot.runtime.tracking.steady import MOST_NOISE, Steady
from qlot.runtime.tracking.tracker import Tracker
from tests.runtime.disc import DiscStages, disc_spec, scene

SPEC = SteadySpec()
SIGMA = 2.0  # pixels, what covariances say
NOISE = SPEC.unit * SIGMA  # pixels, what the rule takes for noise
FPS = 30


def covariances(count: int, sigma: float = SIGMA) -> np.ndarray:
    return np.broadcast_to(np.eye(2) * sigma**2, (count, 2, 2))


def run(path: np.ndarray, times: np.ndarray | None = None, spec: SteadySpec = SPEC, sigma: float = SIGMA) -> np.ndarray:
    """path (T, N, 2)."""
    rule = LandmarkFilter(Steady(spec))
    times = np.arange(len(path)) / FPS if times is None else times
    return np.stack([rule.update(p, t, covariances(len(p), sigma)) for p, t in zip(path, times, strict=True)])


def still(seed: int, seconds: float = 4, landmarks: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, NOISE / 2, (round(seconds * FPS), landmarks, 2))


def flicker(path: np.ndarray) -> float:
    return float(np.sqrt((np.diff(path[FPS:], 2, axis=0) ** 2).mean()))


@pytest.mark.parametrize("seed", range(3))
def test_noise_at_rest_is_taken_out(seed: int) -> None:
    noisy = still(seed)
    out = run(noisy)
    assert flicker(out) < flicker(noisy) / 10
    assert np.abs(out[FPS:]).max() < 2 * NOISE


def test_a_jump_is_followed_in_the_next_frame_and_not_overshot() -> None:
    path = np.zeros((60, 3, 2))
    path[20:] = 40 * NOISE
    out = run(path)
    assert np.abs(out[20] - path[20]).max() < 0.05 * 40 * NOISE
    assert out.max() < 1.03 * 40 * NOISE


@pytest.mark.parametrize("fps", [15, 30, 60])
def test_a_steady_motion_is_followed_without_lag(fps: int) -> None:
    times = np.arange(4 * fps) / fps
    path = np.broadcast_to(60.0 * times[:, None, None], (len(times), 3, 2))  # pixels a second
    out = run(path, times)
    assert np.abs(out - path)[2 * fps :].max() < 0.01 * 60  # 10 ms


def test_in_motion_it_is_steadier_than_a_filter_that_trails_as_little() -> None:
    times = np.arange(6 * FPS) / FPS
    wave = 40 * np.sin(2 * np.pi * 0.5 * times)[:, None, None]
    noisy = wave + still(1, 6)
    euro = LandmarkFilter(OneEuro(1.0, 1.0))
    other = np.stack([euro.update(p, t) for p, t in zip(noisy, times, strict=True)])
    out = run(noisy)
    assert flicker(out - wave) < flicker(other - wave)
    assert np.abs((out - wave)[FPS:].mean((1, 2))).max() < np.abs((other - wave)[FPS:].mean((1, 2))).max()


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), angle=st.floats(0, 6.3))
@settings(max_examples=30, deadline=None)
def test_scale_turn_and_place_do_not_matter(seed: int, scale: float, angle: float) -> None:
    """What is seen from nearer, turned, is followed alike: so it is the same rule for any frame and orientation."""
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    path = np.random.default_rng(seed).normal(0, 2 * NOISE, (40, 3, 2)).cumsum(0)
    moved = run(path @ turn + 100, sigma=SIGMA * scale)
    np.testing.assert_allclose(moved, run(path) @ turn + 100, atol=2e-3 * max(1, scale), rtol=1e-4)


@given(steps=st.lists(st.floats(1e-4, 0.5), min_size=5, max_size=40), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_it_stays_between_and_near_what_it_is_told_at_any_rate(steps: list[float], seed: int) -> None:
    times = np.cumsum([0.0, *steps])
    path = np.random.default_rng(seed).uniform(-50, 50, (len(times), 2, 2))
    out = run(path, times)
    assert np.isfinite(out).all() and np.abs(out).max() < 151


def test_a_hidden_landmark_is_held_longer_but_not_left_behind() -> None:
    spread = np.repeat(np.eye(2)[None] * SIGMA**2, 5, 0)
    spread[0] *= 1e4
    steps = np.zeros((30, 5, 2))
    steps[10:] = 3 * NOISE
    rule = LandmarkFilter(Steady(SPEC))
    out = np.stack([rule.update(p, i / FPS, spread) for i, p in enumerate(steps)])
    assert out[11, 0, 0] < out[11, 1, 0]
    assert MOST_NOISE * SPEC.lasting * NOISE < 6 * NOISE  # so a face that moves by a little takes it along
    assert out[-1, 0, 0] > 0.5 * steps[-1, 0, 0]


def test_covariances_are_needed() -> None:
    rule = LandmarkFilter(Steady(SPEC))
    rule.update(np.zeros((2, 2)), 0.0)
    with pytest.raises(ValueError, match="covariances"):
        rule.update(np.zeros((2, 2)), 0.1)


class Shaking(DiscStages):
    """The disc's stages, whose landmarks shake."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def refine(self, features, state):  # type: ignore[no-untyped-def]
        displacement, covariance, hidden = super().refine(features, state)
        shaken = displacement + self.rng.normal(0, 0.02, displacement.shape).astype(np.float32)
        return shaken, covariance, hidden


@pytest.mark.parametrize(("rotation", "mirrored"), [(0, False), (90, True), (270, False)])
def test_the_trackers_output_is_the_rules_on_what_the_network_says(rotation: int, mirrored: bool) -> None:
    spec = disc_spec().model_copy(update={"steady": SPEC})
    upright = [scene(60 + (0.5 * i if i > 20 else 0), 60, 14) for i in range(40)]
    frames = [np.rot90(frame, rotation // 90)[:, :: -1 if mirrored else 1] for frame in upright]
    how = {"rotation": rotation, "mirrored": mirrored}
    default, raw = Tracker(spec, Shaking(), **how), Tracker(spec, Shaking(), steady=False, **how)
    rule = LandmarkFilter(Steady(SPEC))
    for i, frame in enumerate(frames):
        kept, said = default.update(frame, i / FPS), raw.update(frame, i / FPS)
        if said.landmarks is None:
            assert kept.landmarks is None
            rule.reset()
            continue
        expected = rule.update(said.landmarks, i / FPS, said.covariances)
        np.testing.assert_allclose(kept.landmarks, expected, atol=2e-3)
        np.testing.assert_array_equal(kept.covariances, said.covariances)
        assert kept.crop == said.crop, "the network's own state and crop do not depend on it"
    assert kept.landmarks is not None and not np.array_equal(kept.landmarks, said.landmarks)


def test_it_begins_anew_after_a_frame_without_a_face() -> None:
    spec = disc_spec().model_copy(update={"steady": SPEC})
    tracker, raw = Tracker(spec, Shaking()), Tracker(spec, Shaking(), steady=False)
    face, nothing = scene(60, 60, 14), scene(0, 0, 0)
    found = [
        (tracker.update(f, i / 20), raw.update(f, i / 20))
        for i, f in enumerate([face] * 20 + [nothing] * 2 + [face] * 3)
    ]
    back = next(i for i in range(21, len(found)) if found[i][0].landmarks is not None)
    np.testing.assert_array_equal(found[back][0].landmarks, found[back][1].landmarks)


def test_old_bundles_stay_raw() -> None:
    assert disc_spec().steady.unit == 0
