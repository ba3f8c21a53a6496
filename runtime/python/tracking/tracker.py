"""The tracker: frames and time stamps in, landmarks out. Written rules: `runtime/contract/tracker.md`.

Between frames it holds one frozen record, replaced only when a frame has been dealt with to the end: an error leaves it
as it was.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import IterationSpec, SteadySpec, TrackerSpec
from qlot.runtime.errors import FrameError, TimeUnitWarning
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate, Network, steps
from qlot.runtime.network.state import State, cold_start, covariance_matrices, move_crop
from qlot.runtime.tracking.confidence import confidence
from qlot.runtime.tracking.crop import CropPolicy, fit_crop, sample_crop, target_crop, to_frame
from qlot.runtime.tracking.filters import Memory
from qlot.runtime.tracking.orientation import Orientation
from qlot.runtime.tracking.result import Status, TrackResult
from qlot.runtime.tracking.search import Search, Size, go_on, scaled, start_search
from qlot.runtime.tracking.steady import Steady

Frame = NDArray[np.uint8]
Detector = Callable[[Frame], CropBox | None]
MIN_FRAME = 8  # pixels a side
FAR, FAR_ROW = 4.0, 5  # seconds between frames, so often in a row: more likely the time stamps are in another unit


@dataclass(frozen=True)
class _Searching:
    search: Search
    last: CropBox | None  # where a face was last seen for sure
    lost_at: float = -math.inf
    whole_at: float = -math.inf  # when the whole list was last looked at in one frame


@dataclass(frozen=True)
class _Tracking:
    state: State  # in the crop of the next frame
    crop: CropPolicy
    last: CropBox  # where the face was last seen for sure
    steadied: Memory | None  # of the steady rule, in the upright frame; None after a frame without landmarks
    weak_since: float = math.inf


@dataclass(frozen=True)
class _Fresh:
    """No frame yet."""


@dataclass(frozen=True)
class _Seen:
    size: Size
    phase: _Searching | _Tracking
    result: TrackResult
    far: int = 0  # frames in a row, up to the last, that came FAR or more after the one before


@dataclass(frozen=True)
class _Look:
    """What the network made of one crop."""

    box: CropBox
    state: State
    confidence: float
    target: CropBox  # the crop these landmarks ask for
    plausible: bool  # whether that crop can be a face in this frame


class _Clock:
    """Wall time and steps spent on one frame."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.steps = 0
        self.milliseconds = {"crop": 0.0, "extractor": 0.0, "refiner": 0.0}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.milliseconds[stage] += 1e3 * (time.perf_counter() - start)

    def total(self) -> dict[str, float]:
        return {**self.milliseconds, "total": 1e3 * (time.perf_counter() - self._start)}


class Tracker:
    """Tracks one face.

    Several trackers may share the `stages` of one bundle: each has a state of its own. One call at a time.

    Args:
        bundle: a bundle or the path of its folder, or the tracker's part of a manifest if `stages` are given.
        stages: what runs the network; None loads the bundle's graphs.
        rotation: clockwise degrees by which frames must be turned to be upright: 0, 90, 180 or 270.
        mirrored: frames are mirror images (the preview of a front camera); landmarks keep the subject's own sides.
        gate: uncertainty gate in place of the bundle's.
        iterations: refinement steps in place of the bundle's.
        detector: asked first in every frame without a face: upright frame (H, W, 3) -> crop in its pixels, or None.
        threads: threads of the engine, where this tracker loads the graphs.
        steady: whether landmarks are kept steady as the bundle says, or how; False gives what the network says.
        offline: the frames are a recording, so nothing waits for an answer: where a search begins, the whole frame is
            searched before it is answered.

    Raises:
        FrameError: not a rotation.
        ValueError: neither a bundle nor constants with the stages they belong to.
        BundleError: the bundle cannot be opened, or its graphs cannot be loaded.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path | TrackerSpec,
        stages: Network | None = None,
        *,
        rotation: int = 0,
        mirrored: bool = False,
        gate: Gate | None = None,
        iterations: IterationSpec | None = None,
        detector: Detector | None = None,
        steady: SteadySpec | bool = True,
        threads: int = 1,
        offline: bool = False,
    ) -> None:
        if isinstance(bundle, str | Path):
            bundle = Bundle.open(bundle)
        if isinstance(bundle, Bundle):
            self._spec: TrackerSpec = bundle.manifest
            self._stages = stages or BundleNetwork(bundle, threads)
        elif isinstance(bundle, TrackerSpec) and stages is not None:
            self._spec, self._stages = bundle, stages
        else:
            raise ValueError(
                f"a tracker needs a bundle or the path of its folder, got {type(bundle).__name__}; constants alone "
                "cannot run: pass the stages that they belong to as well."
            )
        self._orientation = Orientation(rotation, mirrored)
        self._gate = gate or Gate(self._spec.gate.radius, self._spec.gate.cutoff)
        self._iterations = iterations or self._spec.iterations
        self._detector = detector
        rule = self._spec.steady if isinstance(steady, bool) else steady
        self._steady = Steady(rule) if steady and rule.unit else None
        self._offline = offline
        self._points = np.array(self._spec.layout.points, np.float64)
        self._memory: _Fresh | _Seen = _Fresh()

    def reset(self) -> None:
        """Forget everything, as before the first frame."""
        self._memory = _Fresh()

    def update(self, rgb: Frame, timestamp: float) -> TrackResult:
        """Take in a frame and say where the face is.

        Args:
            rgb: (H, W, 3) uint8 RGB of at least 8 x 8 pixels, any strides; not kept.
            timestamp: seconds on any clock that runs with the frames.

        Raises:
            FrameError: the frame, the time stamp or the detector's crop is unusable. The tracker is as before the call,
                after this and any other error.

        Warns:
            TimeUnitWarning: frames come so far apart that the time stamps are hardly seconds.
        """
        clock = _Clock()
        _check_frame(rgb)
        _check_time(timestamp)
        upright = self._orientation.upright(rgb)
        size, memory, max_gap = (upright.shape[0], upright.shape[1]), self._memory, self._spec.tracking.max_gap
        phase: _Searching | _Tracking
        if isinstance(memory, _Fresh):
            phase, elapsed, far = self._begin(size), 0.0, 0
        else:
            phase, elapsed = memory.phase, timestamp - memory.result.timestamp
            far = memory.far + 1 if elapsed >= FAR else 0
            if size == memory.size and -max_gap <= elapsed <= 0:
                return replace(memory.result, processed=False, iterations=0, milliseconds={})
            if size != memory.size or abs(elapsed) > max_gap:
                phase = self._resume(phase, memory.size, size)
        if isinstance(phase, _Tracking):
            after, result = self._track(upright, timestamp, elapsed, phase, clock)
        else:
            after, result = self._search(upright, timestamp, phase, clock)
        self._memory = _Seen(size, after, result, far)
        if far == FAR_ROW:
            _warn_of_the_unit(elapsed)
        return result

    def _begin(self, size: Size, last: CropBox | None = None, lost_at: float = -math.inf) -> _Searching:
        return _Searching(start_search(size[1], size[0], self._spec.tracking, last), last, lost_at)

    def _resume(self, phase: _Searching | _Tracking, old: Size, new: Size) -> _Searching:
        """Search in a frame that does not follow the last one: a search goes on, a tracked face is looked for anew."""
        last = scaled(phase.last, old, new)
        if isinstance(phase, _Tracking):
            return self._begin(new, last)
        search = phase.search if new == old else go_on(phase.search, old, new, self._spec.tracking, last)
        return _Searching(search, last)

    def _track(
        self, rgb: Frame, timestamp: float, elapsed: float, old: _Tracking, clock: _Clock
    ) -> tuple[_Searching | _Tracking, TrackResult]:
        spec = self._spec.tracking
        look = self._look(rgb, old.crop.box, old.state, self._iterations.tracking, clock)
        weak = look.confidence < self._spec.confidence.lost
        weak_since = min(old.weak_since, timestamp) if weak else math.inf
        if not look.plausible or timestamp - weak_since >= spec.lost_after:
            lost = self._begin((rgb.shape[0], rgb.shape[1]), old.last, timestamp)
            return lost, self._absent(timestamp, Status.LOST, look, clock)
        crop = old.crop.follow(look.target, elapsed, spec)
        state = move_crop(look.state, look.box, crop.box, self._stages.size)
        if weak:  # kept track of for a while, in case it is only covered, but no face is claimed
            phase = _Tracking(state, crop, old.last, None, weak_since)
            return phase, self._absent(timestamp, Status.LOST, look, clock)
        steadied, result = self._present(rgb, timestamp, look, clock, old.steadied, elapsed)
        return _Tracking(state, crop, crop.box, steadied), result

    def _search(
        self, rgb: Frame, timestamp: float, old: _Searching, clock: _Clock
    ) -> tuple[_Searching | _Tracking, TrackResult]:
        spec, sure = self._spec.tracking, self._spec.confidence
        search, detected = old.search, self._detect(rgb)
        start = cold_start(self._points, self._stages.size, self._spec.state.hidden[2])
        whole = self._offline and abs(timestamp - old.whole_at) > spec.max_gap
        looks = 0
        while _unfinished(old.search, search) if whole else looks < spec.candidates_per_frame:
            box = detected if looks == 0 and detected else search.candidate
            looks += 1
            look = self._look(rgb, box, start, self._iterations.cold, clock)
            if look.plausible and look.confidence >= sure.found:
                state = move_crop(look.state, box, look.target, self._stages.size)
                steadied, result = self._present(rgb, timestamp, look, clock)
                return _Tracking(state, CropPolicy(look.target), look.target, steadied), result
            if box is not detected:
                promising = look.plausible and look.confidence >= sure.lost
                search = search.after_failure(look.target if promising else None, spec.follow_ups)
        status = Status.LOST if timestamp - old.lost_at < spec.lost_for else Status.SEARCHING
        after = replace(old, search=search, whole_at=timestamp if whole else old.whole_at)
        return after, self._absent(timestamp, status, look, clock)

    def _detect(self, rgb: Frame) -> CropBox | None:
        box = self._detector(rgb) if self._detector else None
        if box is not None and not (isinstance(box, CropBox) and self._possible(box, rgb)):
            raise FrameError(
                f"the detector returned {box!r}: it must be a CropBox in pixels of the upright frame "
                f"({rgb.shape[1]} x {rgb.shape[0]}), its centre inside, its side finite and at least "
                f"{self._spec.tracking.min_side} pixels; or None."
            )
        return box

    def _look(self, rgb: Frame, box: CropBox, state: State, count: int, clock: _Clock) -> _Look:
        size = self._stages.size
        with clock.measure("crop"):
            image = sample_crop(rgb, box, size)
        with clock.measure("extractor"):
            features = self._stages.extract(image)
        with clock.measure("refiner"):
            *_, state = steps(self._stages, features, state, count, self._gate)
        clock.steps += count
        fit = fit_crop(self._points, state.landmarks[0, :, :2])
        sure = confidence(state.landmarks, fit, self._spec.confidence)
        target = target_crop(fit, box, size, self._spec.preprocessing.crop)
        return _Look(box, state, sure, target, fit.sound and self._possible(target, rgb))

    def _possible(self, box: CropBox, rgb: Frame) -> bool:
        height, width = rgb.shape[:2]
        inside = -0.5 <= box.center_x <= width - 0.5 and -0.5 <= box.center_y <= height - 0.5
        return inside and self._spec.tracking.min_side <= box.side < math.inf

    def _present(
        self,
        rgb: Frame,
        timestamp: float,
        look: _Look,
        clock: _Clock,
        past: Memory | None = None,
        elapsed: float = 0.0,
    ) -> tuple[Memory | None, TrackResult]:
        size = self._stages.size
        height, width = rgb.shape[:2]
        if self._orientation.rotation % 180:
            width, height = height, width
        points = to_frame(look.state.landmarks[0, :, :2], look.box, size)
        covariances = covariance_matrices(look.state.landmarks) * (look.box.side / size) ** 2
        if self._steady:
            past = (
                self._steady.advance(past, points, elapsed, covariances) if past else self._steady.start(points, None)
            )
            points = past.output
        result = TrackResult(
            timestamp,
            Status.TRACKING,
            self._orientation.points_back(points, width, height).astype(np.float32),
            self._orientation.covariances_back(covariances).astype(np.float32),
            look.confidence,
            look.box,
            clock.steps,
            clock.total(),
        )
        return past, result

    def _absent(self, timestamp: float, status: Status, look: _Look, clock: _Clock) -> TrackResult:
        return TrackResult(timestamp, status, None, None, look.confidence, look.box, clock.steps, clock.total())


def _unfinished(begun: Search, now: Search) -> bool:
    """Whether a search that began at one place has not been once through its list, the last follow-up included."""
    return now.passed - begun.passed < len(begun.candidates) or now.follow_up is not None


def _warn_of_the_unit(elapsed: float) -> None:
    warnings.warn(
        f"{FAR_ROW} frames in a row came {FAR:g} s or more after the one before, this one {elapsed:g} s: "
        "time stamps are seconds. Divide milliseconds by 1e3, microseconds by 1e6, nanoseconds by 1e9.",
        TimeUnitWarning,
        stacklevel=3,
    )


def _check_frame(rgb: Frame) -> None:
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8:
        what = rgb.dtype if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise FrameError(f"a frame must be a uint8 array, got {what}: scale to 0..255 and convert with astype(uint8).")
    if rgb.ndim != 3 or rgb.shape[2] != 3 or min(rgb.shape[:2]) < MIN_FRAME:
        raise FrameError(
            f"a frame must have shape (H, W, 3), RGB, with H and W at least {MIN_FRAME}, got {rgb.shape}: "
            "drop an alpha channel, and decode planar or grey images to RGB first."
        )


def _check_time(timestamp: object) -> None:
    if not (isinstance(timestamp, Real) and math.isfinite(timestamp)):
        raise FrameError(f"a time stamp must be a finite number of seconds, got {timestamp!r}.")
