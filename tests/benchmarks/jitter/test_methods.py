"""The runtime's real tracker on a drawn disc, run the way the benchmark runs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qlot.benchmarks.jitter import methods as methods_module
from qlot.benchmarks.jitter.clips import RenderedClip
from qlot.benchmarks.jitter.measures import lag_of, measure
from qlot.benchmarks.jitter.methods import track
from qlot.benchmarks.jitter.points import PointSet
from qlot.benchmarks.jitter.protocol import SineSpec
from qlot.runtime.bundle.manifest import TrackerSpec
from qlot.runtime.network.recurrence import Gate
from qlot.runtime.tracking.tracker import Tracker
from tests.benchmarks.jitter.made import small_protocol
from tests.runtime.disc import DiscStages, disc_spec, scene, truth

ALL = np.arange(5)
POINTS = PointSet("disc", ALL, ALL, (0, 1), ((0, 3),))
SINE = SineSpec(kind="sine", seconds=2.0, hertz=2.0, amplitude=3.0)


def disc_clip(start: tuple[float, float, float] = (0.05, -0.05, 0.08)) -> RenderedClip:
    times = small_protocol(lead_in=0.5).times(SINE)
    xs = 80 + 3 * np.sin(4 * np.pi * times)
    positions = np.stack([truth(x, 60, 20) for x in xs])
    return RenderedClip(0, SINE, times, [scene(x, 60, 20) for x in xs], {"disc": positions}, start)


def test_follows_from_the_first_frames_own_crop_without_lag() -> None:
    clip = disc_clip()
    found = track(disc_spec(), DiscStages(), clip, POINTS)
    assert np.abs(found.positions - clip.landmarks["disc"])[15:].max() < 0.5
    assert found.covariances is not None and found.covariances.shape == (len(clip.times), 5, 2, 2)
    assert abs(measure(clip, found.positions, POINTS)[lag_of(2)]) < 2


def test_a_gate_lags() -> None:
    found = track(disc_spec(), DiscStages(), disc_clip(), POINTS, Gate(3.0))
    assert measure(disc_clip(), found.positions, POINTS)[lag_of(2)] > 10


def test_an_unsure_network_is_followed_all_the_same() -> None:
    """Steadiness must not depend on a threshold: here the confidence is below both."""
    sceptical = disc_spec().confidence.model_copy(update={"bias": -1e3})
    spec: TrackerSpec = disc_spec().model_copy(update={"confidence": sceptical})
    assert np.isfinite(track(spec, DiscStages(), disc_clip(), POINTS).positions).all()


def test_the_tracker_is_given_nothing_that_the_schema_forbids(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[TrackerSpec] = []

    def seen(spec: TrackerSpec, *arguments: Any, **options: Any) -> Tracker:
        given.append(spec)
        return Tracker(spec, *arguments, **options)

    monkeypatch.setattr(methods_module, "Tracker", seen)
    track(disc_spec(), DiscStages(), disc_clip(), POINTS)
    assert TrackerSpec.model_validate(given[0].model_dump()) == given[0]


def test_where_nothing_can_be_seen_the_answer_is_nan() -> None:
    clip = disc_clip()
    blind = type("Blind", (DiscStages,), {"refine": lambda self, f, s: _mirrored(s)})()
    assert np.isnan(track(disc_spec(), blind, replace(clip), POINTS).positions).all()


def _mirrored(state: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn the face inside out: no face has such landmarks."""
    landmarks, hidden = state.landmarks, state.hidden  # type: ignore[attr-defined]
    position = landmarks[..., :2]
    return -3 * (position - position.mean(1, keepdims=True)), np.zeros((1, 5, 3), np.float32), hidden
