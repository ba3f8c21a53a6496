"""A made-up tracker of known delay and noise must be measured as just that."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qlot.benchmarks.jitter.clips import RenderedClip
from qlot.benchmarks.jitter.measures import (
    BLINK_DEPTH,
    ERROR,
    FLICKER,
    LATENCY,
    LOST,
    NMF,
    OVERSHOOT,
    PUPILS,
    RAMP_LAG,
    gain_of,
    lag_of,
)
from qlot.benchmarks.jitter.methods import ClipAnswers, Method, methods, smooth
from qlot.benchmarks.jitter.peer import PeerTrack
from qlot.benchmarks.jitter.points import PointSet, point_set
from qlot.benchmarks.jitter.run import Followers, MethodScores, run
from qlot.runtime.bundle.manifest import SteadySpec
from qlot.runtime.tracking.filters import OneEuro
from tests.benchmarks.jitter.made import LAYOUTS, late, made_clip, small_protocol

PROTOCOL = small_protocol()
CLIPS = [made_clip(motion, PROTOCOL) for motion in PROTOCOL.motions]
HERTZ = (0.3, 0.5, 1, 2, 4)
IBUG, MESH = point_set("ibug68"), point_set("mediapipe478")


def score(delay: int, sigma: float = 0.0, points: PointSet = IBUG, offset: float = 0.0) -> MethodScores:
    answer = late(delay, sigma)

    def follow(clip: RenderedClip, method: Method) -> ClipAnswers:
        return ClipAnswers(answer(clip.landmarks[points.truth][:, points.layout]) + offset)

    (result,) = run(CLIPS, [Method("made", "made", "QLOT")], follow, points, lambda _: None)
    return result


@pytest.mark.parametrize("points", [IBUG, MESH], ids=["ibug68", "mediapipe478"])
def test_a_perfect_tracker_neither_flickers_nor_lags(points: PointSet) -> None:
    result = score(0, points=points)
    assert result.mean(FLICKER) == result.mean(NMF) == result.mean(ERROR) == result.mean(LOST) == 0
    assert [result.mean(lag_of(f)) for f in HERTZ] == pytest.approx([0] * 5, abs=1e-6)
    assert [result.mean(gain_of(f)) for f in HERTZ] == pytest.approx([1] * 5)
    assert result.mean(RAMP_LAG) == pytest.approx(0, abs=1e-6)
    assert result.mean(OVERSHOOT) == pytest.approx(0, abs=1e-6)
    assert result.mean(BLINK_DEPTH) == pytest.approx(100, rel=0.01)  # FaceMesh's lids are not quite one below the other
    assert math.isnan(result.mean(PUPILS)) == (points is IBUG)
    if points is MESH:
        assert result.mean(PUPILS) == pytest.approx(100)


@pytest.mark.parametrize("delay", [1, 3])
def test_a_late_tracker_lags_by_its_delay_and_a_constant_offset_does_not_matter(delay: int) -> None:
    result = score(delay, offset=2.5)
    for key in (RAMP_LAG, *(lag_of(f) for f in HERTZ)):
        assert result.mean(key) == pytest.approx(1e3 * delay / 30, abs=1e-6)
    assert result.mean(FLICKER) == pytest.approx(0, abs=1e-9)
    assert result.mean(BLINK_DEPTH) == pytest.approx(100)


def test_an_error_that_depends_on_the_place_is_not_taken_for_lag() -> None:
    def skewed(clip: RenderedClip, method: Method) -> ClipAnswers:
        truth = clip.landmarks[IBUG.truth][:, IBUG.layout]
        return ClipAnswers(truth + 0.02 * (truth[..., :1] - 150))

    ramp = [clip for clip in CLIPS if clip.motion.kind == "ramp"]
    (result,) = run(ramp, [Method("skewed", "skewed", "QLOT")], skewed, IBUG, lambda _: None)
    assert result.mean(RAMP_LAG) == pytest.approx(0, abs=1)
    assert 1e3 * 0.02 * 10 / 50 > 1  # what the skew 10 px off its centre would be taken for in one direction


def test_white_noise_flickers_as_much_as_its_sigma_says() -> None:
    """Second differences of white noise have variance (1 + 4 + 1) sigma² on each of two axes."""
    result = score(0, sigma=0.4)
    ibug = np.array(LAYOUTS["lm68"].points)
    eyes = 60 * np.linalg.norm(ibug[45, :2] - ibug[36, :2])
    assert result.mean(FLICKER) == pytest.approx(100 * 0.4 * math.sqrt(12) / eyes, rel=0.03)
    assert result.mean(ERROR) == pytest.approx(100 * 0.4 * math.sqrt(math.pi / 2) / eyes, rel=0.03)
    assert abs(result.mean(lag_of(1))) < 1


def test_a_tracker_that_stands_still_keeps_nothing_of_the_motion() -> None:
    def frozen(clip: RenderedClip, method: Method) -> ClipAnswers:
        truth = clip.landmarks[IBUG.truth][:, IBUG.layout]
        return ClipAnswers(np.repeat(truth[:1], len(truth), 0))

    clips = [clip for clip in CLIPS if clip.motion.kind != "saccade"]
    (result,) = run(clips, [Method("frozen", "frozen", "QLOT")], frozen, IBUG, lambda _: None)
    assert result.mean(FLICKER) == 0  # the steadiest of all: why gains are reported
    assert result.mean(gain_of(1)) == pytest.approx(0, abs=1e-9)
    assert result.mean(BLINK_DEPTH) == pytest.approx(0, abs=1e-9)


def test_a_lost_frame_takes_its_clip_out_and_is_counted() -> None:
    def losing(clip: RenderedClip, method: Method) -> ClipAnswers:
        found = clip.landmarks[IBUG.truth][:, IBUG.layout].copy()
        if clip.motion.kind == "still":
            found[-1] = np.nan
        return ClipAnswers(found)

    (result,) = run(CLIPS, [Method("losing", "losing", "QLOT")], losing, IBUG, lambda _: None)
    assert math.isnan(result.mean(FLICKER))
    assert result.mean(LOST) == pytest.approx(100 / 120 / len(CLIPS))
    assert result.mean(lag_of(1)) == pytest.approx(0, abs=1e-6)


def test_a_filter_trades_flicker_for_lag() -> None:
    noisy = late(0, 0.4)
    clips = [clip for clip in CLIPS if clip.name in {"face5-still", "face5-sine-1"}]
    raw = {clip.name: ClipAnswers(noisy(clip.landmarks[IBUG.truth][:, IBUG.layout])) for clip in clips}

    def follow(clip: RenderedClip, method: Method) -> ClipAnswers:
        return smooth(raw[clip.name], clip.times, method.rule) if method.rule else raw[clip.name]

    kinds = [Method(str(f), "one", "QLOT", rule=OneEuro(f, 0) if f else None) for f in (0.0, 4.0, 1.0)]
    results = run(clips, kinds, follow, IBUG, lambda _: None)
    assert [r.mean(FLICKER) for r in results] == sorted((r.mean(FLICKER) for r in results), reverse=True)
    assert [r.mean(lag_of(1)) for r in results] == sorted(r.mean(lag_of(1)) for r in results)
    # a first-order low pass of 4 Hz at 1 Hz trails by atan(1/4)/(2 pi) s; discrete, somewhat less
    assert 25 < results[1].mean(lag_of(1)) < 1e3 * math.atan(1 / 4) / (2 * math.pi)


def test_a_filter_starts_anew_after_a_loss_and_may_be_told_covariances() -> None:
    positions = np.zeros((6, 2, 2))
    positions[3] = np.nan
    positions[4:] = 9
    covariances = np.repeat(np.eye(2)[None, None], 6, 0).repeat(2, 1)
    out = smooth(ClipAnswers(positions, covariances), np.arange(6) / 30, OneEuro(1, 0), weighted=True).positions
    assert np.isnan(out[3]).all()
    np.testing.assert_array_equal(out[4:], 9)


def test_every_setting_is_a_method_and_the_peer_is_asked_for() -> None:
    labels = [method.label for method in methods(PROTOCOL, SteadySpec(), ["FaceMesh"])]
    assert len(set(labels)) == len(labels) == 2 + 1 + 1 + 1 + 2 * 2 + 2
    assert not any("FaceMesh" in method.label for method in methods(PROTOCOL, SteadySpec(), []))
    assert not any("steady" in method.label for method in methods(PROTOCOL, SteadySpec(unit=0), []))


def test_facemesh_is_read_by_its_own_indices() -> None:
    clip = CLIPS[0]
    found = np.arange(468 * 2, dtype=float).reshape(468, 2)[None].repeat(len(clip.times), 0)
    spec, stages = object(), object()  # not used by the peer
    peers = {"FaceMesh": lambda _: PeerTrack(found, np.full(len(found), 7.0), "1")}
    follow = Followers(spec, stages, IBUG, peers)  # type: ignore[arg-type]
    track = follow(clip, Method("FaceMesh", "FaceMesh", "FaceMesh"))
    np.testing.assert_array_equal(track.positions[0], found[0, IBUG.mesh])
    (scores,) = run([clip], [Method("FaceMesh", "FaceMesh", "FaceMesh")], follow, IBUG, lambda _: None)
    assert scores.mean(LATENCY) == 7
    with pytest.raises(ValueError, match="not given"):
        Followers(spec, stages, IBUG)(clip, Method("FaceMesh", "FaceMesh", "FaceMesh"))  # type: ignore[arg-type]
