"""The tracker's rules (`runtime/contract/tracker.md`), on a drawn disc whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import IterationSpec
from qlot.runtime.errors import FrameError, SessionError
from qlot.runtime.geometry import CropBox, FloatArray
from qlot.runtime.network.recurrence import Gate
from qlot.runtime.network.state import State
from qlot.runtime.tracking.crop import to_frame
from qlot.runtime.tracking.orientation import Orientation
from qlot.runtime.tracking.result import Status, TrackResult
from qlot.runtime.tracking.tracker import Tracker
from tests.runtime.disc import POINTS, SIGMA, SIZE, DiscStages, disc_spec, scene, truth

Path = Callable[[float], tuple[float, float, float]]  # seconds -> x, y, radius
SPEC = disc_spec()
EMPTY = scene(0, 0, 0)
FIRST = scene(80, 60, 20)  # found in the very first frame


def sway(t: float) -> tuple[float, float, float]:
    return 80 + 25 * math.sin(2 * t), 60 + 12 * math.sin(3 * t), 20 * math.exp(0.15 * math.sin(t))


def make(**options: object) -> Tracker:
    return Tracker(SPEC, DiscStages(), **options)  # type: ignore[arg-type]


def same(a: TrackResult, b: TrackResult) -> None:
    """Equal in everything but wall time."""
    assert (a.timestamp, a.status, a.confidence, a.crop, a.iterations, a.processed) == (
        b.timestamp, b.status, b.confidence, b.crop, b.iterations, b.processed
    )  # fmt: skip
    np.testing.assert_array_equal(a.landmarks, b.landmarks)
    np.testing.assert_array_equal(a.covariances, b.covariances)


def statuses(tracker: Tracker, frames: list[NDArray[np.uint8]], start: float, rate: float = 20) -> list[Status]:
    return [tracker.update(f, start + i / rate).status for i, f in enumerate(frames)]


def test_finds_the_disc_and_follows_it() -> None:
    tracker, crops = make(), []
    for i in range(90):
        t = i / 30
        result = tracker.update(scene(*sway(t)), t)
        assert result.status == Status.TRACKING and result.processed and result.timestamp == t
        assert result.iterations == (3 if i == 0 else 1)
        assert result.landmarks is not None and result.covariances is not None and result.crop is not None
        assert result.landmarks.dtype == result.covariances.dtype == np.float32
        np.testing.assert_allclose(result.landmarks, truth(*sway(t)), atol=0.6)
        sigma = SIGMA * sway(t)[2] / 0.5
        np.testing.assert_allclose(result.covariances, np.tile(np.eye(2) * sigma**2, (5, 1, 1)), rtol=0.15, atol=1e-6)
        assert result.milliseconds.keys() == {"crop", "extractor", "refiner", "total"}
        assert result.milliseconds["total"] >= result.milliseconds["crop"] > 0
        crops.append(result.crop)
    moves = sum(a != b for a, b in pairwise(crops))
    assert 20 < moves < 90, "it moves when it must and rests otherwise"


def test_a_still_face_keeps_its_crop_and_a_moving_crop_is_not_motion() -> None:
    """The displacement in the state is the motion in the frame, whatever the crop did in between."""

    class Watching(DiscStages):
        moved: list[float] = []  # noqa: RUF012

        def refine(self, features: Mapping[str, FloatArray], state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
            out = super().refine(features, state)
            self.moved.append(float(np.abs(out[0]).max()))
            return out

    tracker = Tracker(SPEC, Watching())
    results = [tracker.update(FIRST, i / 30) for i in range(20)]
    boxes = {r.crop for r in results[1:]}
    assert len(boxes) == 1 and results[0].crop not in boxes
    assert max(Watching.moved[3:]) < 0.5, "crop pixels, right after the jump from the first crop to the fitted one"


def test_a_repeated_time_stamp_returns_the_last_result() -> None:
    tracker = make()
    first = tracker.update(FIRST, 1.0)
    again = tracker.update(scene(40, 40, 20), 1.0)
    assert not again.processed and again.iterations == 0 and not again.milliseconds
    assert (again.timestamp, again.status, again.crop) == (1.0, first.status, first.crop)
    np.testing.assert_array_equal(again.landmarks, first.landmarks)


def test_frames_out_of_order_are_not_looked_at() -> None:
    tracker, twin = make(), make()
    for i in range(5):
        tracker.update(FIRST, i / 30)
        twin.update(FIRST, i / 30)
    for late in (4 / 30 - 0.5, 0.05):
        answer = tracker.update(scene(40, 40, 20), late)
        assert not answer.processed and answer.timestamp == 4 / 30
    same(tracker.update(scene(82, 60, 20), 5 / 30), twin.update(scene(82, 60, 20), 5 / 30))


@pytest.mark.parametrize("then", [10.51, 9.49, -3.0, 1e9])
def test_a_gap_starts_anew_at_the_last_crop(then: float) -> None:
    off_centre = scene(40, 40, 12)
    tracker = make()
    for i in range(60):
        last = tracker.update(off_centre, 10 + (i - 59) / 30)
    assert last.status == Status.TRACKING and last.timestamp == 10.0
    after = tracker.update(off_centre, then)
    assert after.status == Status.TRACKING and after.iterations == 3, "a cold start"
    assert after.crop == last.crop
    elsewhere = make()
    elsewhere.update(FIRST, 10.0)
    assert elsewhere.update(EMPTY, then).status == Status.SEARCHING


@pytest.mark.parametrize("rate", [15, 30, 60])
def test_a_loss_takes_as_long_at_any_frame_rate(rate: int) -> None:
    tracker = make()
    tracker.update(FIRST, 0.0)
    results = [tracker.update(EMPTY, i / rate) for i in range(1, 2 * rate)]
    assert all(r.landmarks is None and r.covariances is None for r in results)
    given_up = next(r.timestamp for r in results if r.iterations == 3) - 1 / rate  # the search begins a frame later
    assert given_up == pytest.approx(1 / rate + 0.2, abs=1 / rate) and given_up >= 1 / rate + 0.2 - 1e-9
    searching = next(i for i, r in enumerate(results) if r.status == Status.SEARCHING)
    assert {r.status for r in results[:searching]} == {Status.LOST}
    lost_for = results[searching].timestamp - given_up
    assert lost_for == pytest.approx(1.0, abs=1 / rate + 1e-9) and lost_for >= 1.0 - 1e-9


def test_no_face_is_claimed_in_a_frame_without_one() -> None:
    tracker = make()
    tracker.update(FIRST, 0.0)
    gone = tracker.update(EMPTY, 0.01)
    assert (gone.status, gone.landmarks, gone.covariances) == (Status.LOST, None, None)
    assert gone.confidence < SPEC.confidence.lost


def test_after_a_short_occlusion_tracking_goes_on_without_a_search() -> None:
    tracker = make()
    tracker.update(FIRST, 0.0)
    for cover in range(10):  # 0.15 s of nothing, then one good frame: the count begins again
        start = 0.05 + cover * 0.2
        results = [tracker.update(frame, start + i / 20) for i, frame in enumerate([EMPTY] * 3 + [FIRST])]
        assert [r.status for r in results] == [Status.LOST] * 3 + [Status.TRACKING]
        assert {r.iterations for r in results} == {1}, "no cold start"


def test_a_lost_face_is_found_where_it_was() -> None:
    tracker = make()
    statuses(tracker, [scene(40, 90, 12)] * 60, 0.0)
    assert statuses(tracker, [EMPTY] * 10, 3.0)[-1] == Status.LOST
    assert Status.TRACKING in statuses(tracker, [scene(42, 88, 12)] * 5, 3.5)


def test_a_face_anywhere_is_found_within_one_round() -> None:
    for x, y, radius in ((20, 25, 9), (140, 95, 9), (80, 60, 25), (120, 30, 14)):
        tracker = make()
        results = [tracker.update(scene(x, y, radius), i / 30) for i in range(80)]
        assert results[-1].status == Status.TRACKING
        np.testing.assert_allclose(results[-1].landmarks, truth(x, y, radius), atol=0.6)


def test_nothing_is_found_where_nothing_is() -> None:
    tracker = make()
    results = [tracker.update(EMPTY, i / 30) for i in range(150)]
    assert {r.status for r in results} == {Status.SEARCHING}
    assert len({r.crop for r in results}) > 20, "it keeps looking elsewhere"


def test_candidates_per_frame_and_steps_are_as_configured() -> None:
    tracker = Tracker(disc_spec(candidates_per_frame=4), DiscStages(), iterations=IterationSpec(cold=5, tracking=2))
    assert tracker.update(EMPTY, 0.0).iterations == 20
    statuses(tracker, [FIRST] * 30, 0.05)
    assert tracker.update(FIRST, 1.6).iterations == 2


@dataclass
class Spoiled(DiscStages):
    """Fails, or returns what is not finite, in the frames it is told to; counts extractor calls."""

    failing: set[int] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)
    calls: int = 0

    def extract(self, image: FloatArray) -> Mapping[str, FloatArray]:
        self.calls += 1
        if self.calls in self.failing:
            raise SessionError("the engine ran out of memory")
        features = super().extract(image)
        return {"disc": features["disc"] * np.float32(np.nan)} if self.calls in self.broken else features

    def refine(self, features: Mapping[str, FloatArray], state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        displacement, covariance, hidden = super().refine(features, state)
        return displacement + features["disc"][0] * 0, covariance, hidden


def test_landmarks_that_are_not_finite_are_a_loss_at_once() -> None:
    tracker = Tracker(SPEC, Spoiled(broken={3}))
    assert statuses(tracker, [FIRST] * 5, 0.0) == [
        Status.TRACKING, Status.TRACKING, Status.LOST, Status.TRACKING, Status.TRACKING
    ]  # fmt: skip


def test_a_face_that_leaves_or_shrinks_away_is_a_loss_at_once() -> None:
    def run(path: Path) -> list[TrackResult]:
        tracker = make()
        return [tracker.update(scene(*path(i / 60)), i / 60) for i in range(120)]

    leaving = run(lambda t: (80 + 60 * t, 60, 20))
    lost = next(r for r in leaving if r.status != Status.TRACKING)
    assert lost.status == Status.LOST and 1.0 < lost.timestamp < 1.6
    shrinking = run(lambda t: (80, 60, 20 * math.exp(-t)))
    lost = next(r for r in shrinking if r.status != Status.TRACKING)
    assert lost.status == Status.LOST and 20 * math.exp(-lost.timestamp) / 0.5 * 2.4 == pytest.approx(24, rel=0.1)


def test_an_engine_error_leaves_the_tracker_as_it_was() -> None:
    stages = Spoiled(failing={1, 4, 6})
    tracker, twin = Tracker(SPEC, stages), make()
    for i in range(8):
        t = i / 30
        if stages.calls + 1 in stages.failing:
            with pytest.raises(SessionError):
                tracker.update(EMPTY, t + 0.01)
        same(tracker.update(scene(*sway(t)), t), twin.update(scene(*sway(t)), t))


BAD_FRAMES: list[tuple[object, object, str]] = [
    (FIRST.astype(np.float32), 9.0, "uint8"),
    (FIRST.tolist(), 9.0, "uint8 array, got list"),
    (FIRST[..., 0], 9.0, "shape"),
    (np.dstack([FIRST, FIRST[..., :1]]), 9.0, "alpha"),
    (FIRST[:7], 9.0, "at least 8"),
    (FIRST.transpose(2, 0, 1), 9.0, "shape"),
    (FIRST, math.nan, "finite"),
    (FIRST, -math.inf, "finite"),
    (FIRST, None, "finite number of seconds"),
    (FIRST, "1.0", "finite number of seconds"),
]


@given(st.lists(st.integers(-1, len(BAD_FRAMES) - 1), min_size=5, max_size=25))
@settings(max_examples=25, deadline=None)
def test_refused_frames_leave_no_trace(events: list[int]) -> None:
    tracker, twin = make(), make()
    for i, event in enumerate(events):
        if event < 0:
            frame = scene(*sway(i / 30))
            same(tracker.update(frame, i / 30), twin.update(frame, i / 30))
        else:
            frame, time, words = BAD_FRAMES[event]
            with pytest.raises(FrameError, match=words):
                tracker.update(frame, time)  # type: ignore[arg-type]
    same(tracker.update(FIRST, 99.0), twin.update(FIRST, 99.0))


def test_trackers_share_stages_but_nothing_else() -> None:
    stages = DiscStages()
    one, other, alone = Tracker(SPEC, stages), Tracker(SPEC, stages), make()
    for i in range(20):
        t = i / 30
        result = one.update(scene(*sway(t)), t)
        other.update(scene(30 + i, 60, 18), t)
        same(result, alone.update(scene(*sway(t)), t))


def test_reset_forgets_everything() -> None:
    tracker, fresh = make(), make()
    statuses(tracker, [scene(30, 30, 12)] * 40, 0.0)
    tracker.reset()
    same(tracker.update(FIRST, 1.0), fresh.update(FIRST, 1.0))


@pytest.mark.parametrize("view", [lambda f: f[::-1][::-1], np.asfortranarray, lambda f: np.dstack([f, f])[..., :3]])
def test_any_strides_will_do(view: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    tracker, twin = make(), make()
    for i in range(5):
        frame = scene(*sway(i / 30))
        same(tracker.update(view(frame), i / 30), twin.update(frame, i / 30))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_and_mirrored_frames_give_landmarks_in_their_own_pixels(rotation: int, mirrored: bool) -> None:
    tracker, upright = make(rotation=rotation, mirrored=mirrored), make()
    orientation = Orientation(rotation, mirrored)
    for i in range(10):
        frame = scene(*sway(i / 30))
        passed = np.rot90(frame, rotation // 90)
        passed = passed[:, ::-1] if mirrored else passed
        result, plain = tracker.update(passed, i / 30), upright.update(frame, i / 30)
        assert result.crop == plain.crop, "crops are in the upright frame"
        assert result.landmarks is not None and result.covariances is not None and plain.landmarks is not None
        height, width = passed.shape[:2]
        np.testing.assert_allclose(
            orientation.points_upright(result.landmarks.astype(float), width, height), plain.landmarks, atol=1e-4
        )
        nose = result.landmarks[2].round().astype(int)
        assert passed[nose[1], nose[0], 0] > 200, "the pixel under a landmark on the disc is red"
        assert (np.linalg.eigvalsh(result.covariances.astype(float)) > 0).all()


def test_the_gate_holds_landmarks_back() -> None:
    """A gate as narrow as this lets almost nothing of a displacement through where the covariance is small."""
    free, gated = make(), make(gate=Gate(radius=50.0, cutoff=0.0))
    moved = []
    for tracker in (free, gated):
        tracker.update(FIRST, 0.0)
        first = tracker.update(FIRST, 1 / 30)
        then = tracker.update(scene(86, 60, 20), 2 / 30)
        assert first.landmarks is not None and then.landmarks is not None
        moved.append(float((then.landmarks - first.landmarks)[:, 0].mean()))
    assert moved[0] == pytest.approx(6, abs=0.3)
    assert 0 < moved[1] < 0.5 * moved[0]


def test_the_detector_is_asked_once_a_frame_while_there_is_no_face() -> None:
    asked: list[tuple[int, ...]] = []

    def detector(rgb: NDArray[np.uint8]) -> CropBox | None:
        asked.append(rgb.shape)
        return CropBox(30.0, 85.0, 60.0) if len(asked) > 2 else None

    tracker = Tracker(disc_spec(candidates_per_frame=2), DiscStages(), detector=detector, rotation=90)
    frames = [np.rot90(f) for f in [EMPTY, EMPTY, *[scene(30, 85, 12)] * 4]]
    results = [tracker.update(frame, i / 30) for i, frame in enumerate(frames)]
    assert [r.status for r in results] == [Status.SEARCHING] * 2 + [Status.TRACKING] * 4
    assert asked == [(120, 160, 3)] * 3, "upright frames, and none once the face is found"
    assert results[2].crop == CropBox(30.0, 85.0, 60.0) and results[2].iterations == 3


@pytest.mark.parametrize(
    "box",
    [
        CropBox(math.nan, 60.0, 60.0),
        CropBox(80.0, 60.0, math.inf),
        CropBox(80.0, 60.0, 10.0),
        CropBox(160.0, 60.0, 60.0),
        (80.0, 60.0, 60.0),
    ],
)
def test_an_impossible_detection_is_refused(box: object) -> None:
    answers = [box, None]
    tracker, twin = make(detector=lambda _: answers.pop(0)), make()
    with pytest.raises(FrameError, match="detector returned"):
        tracker.update(FIRST, 0.0)
    same(tracker.update(FIRST, 0.0), twin.update(FIRST, 0.0))


def test_constants_without_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="stages"):
        Tracker(SPEC)
    with pytest.raises(FrameError, match="rotation"):
        make(rotation=45)


@given(st.lists(st.tuples(st.floats(-0.7, 0.7), st.integers(0, 3)), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_whatever_comes_results_are_well_formed(events: list[tuple[float, int]]) -> None:
    tracker, now, seen = make(), 0.0, None
    for step, kind in events:
        now += step
        frame = (EMPTY, FIRST, scene(*sway(now)), scene(150, 110, 25))[kind]
        result = tracker.update(frame, now)
        assert (result.landmarks is None) == (result.covariances is None) == (result.status != Status.TRACKING)
        assert 0 <= result.confidence <= 1 and result.crop is not None
        if result.landmarks is not None:
            assert result.landmarks.shape == POINTS[:, :2].shape and np.isfinite(result.landmarks).all()
        if result.processed:
            assert result.timestamp == now and result.iterations in (1, 3)
        else:
            assert seen is not None and result.timestamp == seen.timestamp
        seen = result


def test_positions_of_the_crop_and_of_the_result_agree() -> None:
    """The landmark in crop pixels that the stages saw, mapped by hand through the reported crop."""
    tracker = make()
    result = tracker.update(FIRST, 0.0)
    assert result.crop is not None and result.landmarks is not None
    scale = result.crop.side / SIZE
    nose = (truth(80, 60, 20)[2] - (result.crop.center_x, result.crop.center_y)) / scale + SIZE / 2 - 0.5
    np.testing.assert_allclose(to_frame(nose, result.crop, SIZE), result.landmarks[2], atol=0.6)
