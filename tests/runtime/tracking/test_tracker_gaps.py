"""Frames that do not follow one another: gaps, sizes, units of time; and recordings, which are searched whole."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qlot.runtime.errors import TimeUnitWarning
from qlot.runtime.tracking.result import Status
from qlot.runtime.tracking.search import start_search
from qlot.runtime.tracking.tracker import Tracker
from tests.runtime.disc import DiscStages, disc_spec, scene, truth

SPEC = disc_spec()
EMPTY = scene(0, 0, 0)
FIRST = scene(80, 60, 20)  # found in the very first frame


def make(**options: object) -> Tracker:
    return Tracker(SPEC, DiscStages(), **options)  # type: ignore[arg-type]


def statuses(tracker: Tracker, frames: list[NDArray[np.uint8]], start: float, rate: float = 20) -> list[Status]:
    return [tracker.update(f, start + i / rate).status for i, f in enumerate(frames)]


def test_in_frames_of_another_size_the_face_is_looked_for_where_it_was() -> None:
    tracker = make()
    for i in range(60):
        last = tracker.update(scene(40, 40, 12), i / 30)
    larger = tracker.update(scene(80.5, 80.5, 24, 320, 240), 2.0)
    assert larger.status == Status.TRACKING and larger.iterations == 3, "a cold start"
    assert last.crop is not None and larger.crop is not None
    assert larger.crop.side == 2 * last.crop.side
    assert (larger.crop.center_x + 0.5) / 320 == pytest.approx((last.crop.center_x + 0.5) / 160)
    assert (larger.crop.center_y + 0.5) / 240 == pytest.approx((last.crop.center_y + 0.5) / 120)


@cache
def far_right(scale: int = 1) -> NDArray[np.uint8]:
    """A wide frame with a disc that the scan reaches late."""
    middle = (scale - 1) / 2
    return scene(628 * scale + middle, 100 * scale + middle, 9 * scale, 640 * scale, 120 * scale)


LATE = 8  # candidates before it


@pytest.mark.parametrize("step", [0.51, 1.0, 1e5])
def test_the_scan_goes_on_however_slowly_frames_come(step: float) -> None:
    slow, fast, frame = make(), make(), far_right()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TimeUnitWarning)
        found = [slow.update(frame, i * step).status for i in range(30)]
    first = found.index(Status.TRACKING)
    assert first == statuses(fast, [frame] * 30, 0.0).index(Status.TRACKING) >= LATE
    assert set(found[:first]) == {Status.SEARCHING}
    assert set(found[first:]) == {Status.TRACKING}, "then looked for anew in every frame, where it was"


def test_the_scan_goes_on_whatever_the_sizes_of_the_frames() -> None:
    found = statuses(make(), [far_right(1), far_right(2)] * 15, 0.0)
    first = found.index(Status.TRACKING)
    assert LATE <= first < 25 and set(found[first:]) == {Status.TRACKING}


@given(st.lists(st.tuples(st.sampled_from([0.03, 0.4, 0.6, -0.7, 30.0]), st.integers(1, 2)), min_size=40, max_size=40))
@settings(max_examples=10, deadline=None)
def test_no_order_of_gaps_and_sizes_loses_the_scan(events: list[tuple[float, int]]) -> None:
    tracker, now, found = make(), 0.0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TimeUnitWarning)
        for step, scale in events:
            now += step
            found.append(tracker.update(far_right(scale), now).status)
    assert Status.TRACKING in found


@pytest.mark.parametrize(("step", "hints"), [(33.3, 1), (16.7e6, 1), (4.0, 1), (3.9, 0), (1 / 30, 0)])
def test_time_stamps_that_are_hardly_seconds_get_one_hint(step: float, hints: int) -> None:
    tracker = make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(20):
            tracker.update(FIRST, i * step)
    said = [str(w.message) for w in caught if w.category is TimeUnitWarning]
    assert len(said) == hints and all("milliseconds by 1e3" in text for text in said)


def test_single_pauses_get_no_hint() -> None:
    tracker = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(40):
            tracker.update(FIRST, i / 30 + 100 * (i // 4))


def test_offline_one_frame_is_enough() -> None:
    assert make().update(far_right(), 0.0).status == Status.SEARCHING
    result = make(offline=True).update(far_right(), 0.0)
    assert result.status == Status.TRACKING
    np.testing.assert_allclose(result.landmarks, truth(628, 100, 9), atol=1.0)


def test_offline_every_candidate_is_looked_at_and_then_as_often_as_online() -> None:
    tracker = make(offline=True)
    results = [tracker.update(EMPTY, i / 30) for i in range(40)]
    whole = 3 * len(start_search(160, 120, SPEC.tracking).candidates)
    assert {r.iterations for r in results} == {3, whole} and results[0].iterations == whole
    assert [i for i, r in enumerate(results) if r.iterations == whole] == [0, 16, 31], "as soon as max_gap is over"
    assert {r.status for r in results} == {Status.SEARCHING}


def test_offline_a_face_that_is_lost_is_found_in_the_next_frame_that_shows_it() -> None:
    tracker = make(offline=True)
    empty = scene(0, 0, 0, 640, 120)
    assert statuses(tracker, [scene(40, 60, 12, 640, 120)] * 5 + [empty] * 5, 0.0)[-1] == Status.LOST
    assert statuses(tracker, [far_right()], 0.5) == [Status.TRACKING]
