from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qlot.export.calibration.frames import MIN_CALIBRATION_FRAMES, FrameSet, calibration_clip, parity_clip, to_uint8
from qlot.export.calibration.record import RESET_EVERY, RecordingNetwork, calibration_spec, record
from qlot.export.errors import ExportError
from qlot.model.checkpoint import checkpoint_metadata
from qlot.model.layout import load_layout
from qlot.model.torch_network import TorchNetwork
from qlot.model.weights import DEFAULT, load_default, weights_path
from qlot.runtime.bundle.stated_confidence import stated_confidence
from qlot.runtime.network.recurrence import Gate, steps
from qlot.runtime.network.state import cold_start
from qlot.runtime.tracking.result import Status
from qlot.runtime.tracking.tracker import Tracker
from tests.export import small
from tests.export.trained import trained

SIZE, WIDTH = small.SMALL.image_size, small.SMALL.hidden_width


def test_every_input_of_every_stage_is_kept() -> None:
    feeds = small.recorded("windowed")
    assert {k: len(v) for k, v in feeds.items()} == {"extractor": 8, "refiner": 16, "refiner_unrolled": 8}
    for stage in small.stages("windowed"):
        for feed in feeds[stage.name]:
            assert {t.name: t.shape for t in stage.inputs} == {k: v.shape for k, v in feed.items()}
            assert {v.dtype for v in feed.values()} == {np.dtype(np.float32)}


def test_the_unrolled_refiner_sees_the_first_step_of_a_frame() -> None:
    feeds = small.recorded("windowed")
    for t, unrolled in enumerate(feeds["refiner_unrolled"]):
        for key, value in feeds["refiner"][2 * t].items():
            np.testing.assert_array_equal(unrolled[key], value)
        np.testing.assert_array_equal(unrolled["gate"], np.array([small.GATE.radius, small.GATE.cutoff], np.float32))


def test_recorded_inputs_give_the_recorded_states() -> None:
    """On policy: what is kept is what the float stages were given, not a later state of the same memory."""
    feeds = small.recorded("windowed")["refiner"]
    recorder = RecordingNetwork(small.stages("windowed"), SIZE, np.zeros(2, np.float32))
    state = cold_start(small.layout().points, SIZE, WIDTH)
    for t, image in enumerate(small.images(8)):
        np.testing.assert_array_equal(feeds[2 * t]["landmarks"], state.landmarks)
        np.testing.assert_array_equal(feeds[2 * t]["hidden"], state.hidden)
        *_, state = steps(recorder, recorder.extract(image), state, 2, small.GATE)


def _cut(clip: FrameSet, frames: int) -> FrameSet:
    return dataclasses.replace(clip, frames=clip.frames[:frames])


def test_a_clip_is_tracked_with_resets_and_reacquisitions() -> None:
    stages, spec, clip = trained()
    feeds = record(stages, spec, _cut(clip, 2 * RESET_EVERY))
    assert len(feeds["extractor"]) >= 2 * RESET_EVERY
    assert len(feeds["refiner"]) >= 2 * RESET_EVERY + 4 * (spec.iterations.cold - 1)
    cold = cold_start(np.array(spec.layout.points), spec.preprocessing.size, spec.state.hidden[2])
    starts = [f for f in feeds["refiner"] if np.array_equal(f["landmarks"], cold.landmarks)]
    assert len(starts) == 4  # the first frame, the one after the reset, and one after each pause
    assert all(not f["hidden"].any() for f in starts)


def test_what_was_met_is_stated_with_its_ranges() -> None:
    stages, feeds = small.stages("windowed"), small.recorded("windowed")
    clip = _cut(calibration_clip(), 8)
    spec = calibration_spec(clip, feeds, stages)
    assert (spec.source, spec.frames, spec.sha256) == ("builtin", 8, clip.sha256)
    assert spec.calls == {"extractor": 8, "refiner": 16, "refiner_unrolled": 8}
    assert spec.cold_starts == 1
    assert spec.ranges.keys() == {s.name for s in stages}
    for stage in stages:
        assert list(spec.ranges[stage.name]) == [t.name for t in stage.inputs]
    values = np.array([f["landmarks"] for f in feeds["refiner"]])
    assert spec.ranges["refiner"]["landmarks"] == (float(values.min()), float(values.max()))
    low, high = spec.ranges["extractor"]["image"]
    assert 0 <= low < high <= 1
    only = calibration_spec(clip, feeds, stages[:2])  # an unrolled refiner that is not exported is not in it
    assert only.calls.keys() == only.ranges.keys() == {"extractor", "refiner"}


def test_32_frames_of_a_face_are_enough() -> None:
    """The first ones too: the whole frame is searched after each reset."""
    stages, spec, clip = trained()
    known = stated_confidence(checkpoint_metadata(weights_path(DEFAULT)), "wflw98")
    assert known is not None
    spec = spec.model_copy(update={"confidence": known})
    feeds = record(stages, spec, _cut(clip, MIN_CALIBRATION_FRAMES))
    assert len(feeds["extractor"]) >= MIN_CALIBRATION_FRAMES
    tracker = Tracker(spec, TorchNetwork(load_default(), load_layout("wflw98")))  # what a camera would get
    online = [tracker.update(f.rgb, f.timestamp).status for f in clip.frames[:MIN_CALIBRATION_FRAMES]]
    assert online[0] is not Status.TRACKING


def test_a_clip_without_a_face_or_too_short_is_refused() -> None:
    stages, spec, clip = trained()
    with pytest.raises(ExportError, match=r"tracked in \d+ of 10 frames of .* 'builtin'; at least 32"):
        record(stages, spec, _cut(clip, 10))
    blank = tuple(dataclasses.replace(f, rgb=np.zeros_like(f.rgb)) for f in clip.frames[:33])
    strict = spec.model_copy(update={"confidence": spec.confidence.model_copy(update={"found": 0.999, "lost": 0.99})})
    with pytest.raises(ExportError, match="tracked in 0 of 33 frames"):
        record(stages, strict, dataclasses.replace(clip, frames=blank))


def test_the_clips_do_not_overlap() -> None:
    calibration, parity = calibration_clip(), parity_clip()
    assert calibration.sha256 != parity.sha256
    assert {f.index for f in calibration.frames}.isdisjoint(f.index for f in parity.frames)
    assert calibration_clip().sha256 == calibration.sha256


def test_pictures_survive_the_round_trip() -> None:
    np.testing.assert_array_equal(to_uint8(small.images(1)[0]), small.crops(1)[0])
    assert to_uint8(np.full((1, 3, 2, 2), 1.7, np.float32)).max() == 255


def test_a_gate_is_part_of_the_record() -> None:
    recorder = RecordingNetwork(small.stages("windowed"), SIZE, np.array([3.0, 0.1], np.float32))
    start = cold_start(small.layout().points, SIZE, WIDTH)
    list(steps(recorder, recorder.extract(small.images(1)[0]), start, 3, Gate(3.0, 0.1)))
    assert [len(recorder.feeds[n]) for n in ("extractor", "refiner", "refiner_unrolled")] == [1, 3, 1]
    assert recorder.feeds["refiner_unrolled"][0]["gate"].tolist() == pytest.approx([3.0, 0.1])
