"""Parity finds what is wrong: a bundle passes, and each way of breaking it fails."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qlot.export.calibration.frames import parity_clip
from qlot.export.errors import ExportError
from qlot.export.graphs.schemes import PLANS
from qlot.export.parity.free_run import ParityReport, measure, parity_spec
from qlot.export.parity.reference import first_frames, record_reference
from qlot.model.layout import load_layout
from qlot.model.torch_network import TorchNetwork
from qlot.model.weights import load_default
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.errors import ParityError, SessionError
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate, steps
from qlot.runtime.network.replay import compare, replay, run_frames
from qlot.runtime.network.state import State, cold_start
from tests.export import small
from tests.export.graph_surgery import BROKEN, graphs, weight
from tests.export.trained import trained

FP32 = PLANS["fp32"]
TOLERANCE = FP32.tolerance


@pytest.fixture(scope="module")
def reference() -> GoldenSequence:
    return small.reference_sequence()


def measured(bundle: Bundle, reference: GoldenSequence) -> ParityReport:
    return measure(bundle, BundleNetwork(bundle), reference, FP32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(small.write_bundle(tmp_path_factory.mktemp("parity") / "good", graphs()))


def test_a_good_bundle_passes_far_below_its_tolerance(bundle: Bundle, reference: GoldenSequence) -> None:
    report = measured(bundle, reference)
    report.check()
    assert report.max_px < TOLERANCE.px / 20
    assert report.sigma < 1e-4
    assert report.hidden < 1e-4
    assert report.errors.shape == (4, 4, len(small.layout()))
    assert "onnxruntime" in report.engine
    replay(bundle).check()


def test_flicker_is_that_of_the_frames_results_and_is_held(bundle: Bundle, reference: GoldenSequence) -> None:
    good = measured(bundle, reference)
    assert abs(good.flicker) < 1e-3
    trembling = reference.landmarks.copy()
    last = (np.arange(len(trembling)), reference.steps - 1)
    trembling[last] += np.where(np.arange(len(trembling)) % 2, 3, -3)[:, None, None]
    found = measured(bundle, dataclasses.replace(reference, landmarks=trembling))
    assert found.flicker < -0.05
    for change in (-0.031, 0.031):
        with pytest.raises(
            ParityError, match=re.escape(f"flicker changes by {change:+.1%} against PyTorch, 3% are allowed")
        ):
            dataclasses.replace(good, flicker=change).check()


def test_what_the_manifest_says_of_it(bundle: Bundle, reference: GoldenSequence) -> None:
    report = measured(bundle, reference)
    torch_stages = TorchNetwork(small.network(), small.layout())
    spec = parity_spec(report, torch_stages, parity_clip())
    assert (spec.frames, spec.clip, spec.tolerance) == (4, "builtin", TOLERANCE)
    assert spec.reference.startswith("PyTorch")
    assert spec.median_px <= spec.p99_px <= spec.max_px
    assert spec.max_px == pytest.approx(report.max_px, rel=5e-3)
    assert spec.worst.landmark in small.layout().names


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_refiner_fails(name: str, reference: GoldenSequence, tmp_path: Path) -> None:
    bundle = Bundle.open(small.write_bundle(tmp_path / "bad", graphs(BROKEN[name])))
    report = measured(bundle, reference)
    assert not report.passed
    with pytest.raises(ParityError, match=r"px off at frame \d+, step \d, landmark '"):
        report.check()
    with pytest.raises(ParityError):
        replay(bundle).check()


def test_a_broken_extractor_fails(reference: GoldenSequence, tmp_path: Path) -> None:
    change = weight("backbone.stem.stem1.conv.weight", 3.0)
    bundle = Bundle.open(small.write_bundle(tmp_path / "bad", graphs(change, "extractor")))
    assert not measured(bundle, reference).passed


def test_a_broken_unrolled_refiner_fails(tmp_path: Path) -> None:
    change = weight("refiner.delta.weight", 0.3)
    bundle = Bundle.open(small.write_bundle(tmp_path / "bad", graphs(change, "refiner_unrolled")))
    with pytest.raises(ParityError, match=r"the unrolled refiner is .* px off its"):
        replay(bundle)


def test_what_is_not_a_number_is_an_error(reference: GoldenSequence, tmp_path: Path) -> None:
    change = weight("refiner.delta.weight", float("nan"))
    bundle = Bundle.open(small.write_bundle(tmp_path / "bad", graphs(change)))
    with pytest.raises(SessionError, match="not finite"):
        measured(bundle, reference)
    nan = np.full((1, len(small.layout()), 7), np.nan, np.float32)
    broken = iter([[State(nan, reference.hidden[:1])] * 4])
    report = compare(broken, first_frames(reference, 1), small.layout().names, TOLERANCE, "none")
    assert report.max_px == np.inf
    assert not report.passed


def _run(bundle: Bundle, golden: GoldenSequence, start: State) -> Iterator[list[State]]:
    """A free run like the replay's, but from another state than a cold start; the first two boxes are equal."""
    stages, state = BundleNetwork(bundle), start
    for t in range(2):
        image = np.ascontiguousarray(golden.crops[t].transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        frame = list(steps(stages, stages.extract(image), state, int(golden.steps[t]), Gate(*map(float, golden.gate))))
        state = frame[-1]
        yield frame


def test_a_run_that_was_not_reset_fails(bundle: Bundle, reference: GoldenSequence) -> None:
    golden, names = first_frames(reference, 2), small.layout().names
    cold = cold_start(small.layout().points, bundle.manifest.preprocessing.size, small.SMALL.hidden_width)
    assert compare(_run(bundle, golden, cold), golden, names, TOLERANCE, "").passed
    *_, (*_, warm) = _run(bundle, golden, cold)
    assert not compare(_run(bundle, golden, warm), golden, names, TOLERANCE, "").passed
    only_hidden = State(cold.landmarks, warm.hidden)
    assert not compare(_run(bundle, golden, only_hidden), golden, names, TOLERANCE, "").passed


def test_another_gate_or_number_of_steps_fails(bundle: Bundle, reference: GoldenSequence) -> None:
    for change in (
        {"gate": np.zeros(2, np.float32)},
        {"boxes": np.tile(reference.boxes[:1], (4, 1))},
        {"crops": reference.crops[::-1].copy()},
    ):
        assert not measured(bundle, dataclasses.replace(reference, **change)).passed, list(change)


def test_the_first_frames_are_a_sequence_of_their_own(reference: GoldenSequence) -> None:
    cut = first_frames(reference, 2)
    assert cut.crops.shape[0] == len(cut.steps) == len(cut.hidden) == 2
    np.testing.assert_array_equal(cut.landmarks, reference.landmarks[:2])
    np.testing.assert_array_equal(cut.gate, reference.gate)


def test_the_reference_is_a_track_of_the_sample_clip() -> None:
    _, spec, _ = trained()
    layout = load_layout("wflw98")
    stages = TorchNetwork(load_default(), layout)
    sequence = record_reference(stages, spec, parity_clip(), 4)
    size = spec.preprocessing.size
    assert sequence.crops.shape == (4, size, size, 3)
    assert sequence.steps.tolist() == [spec.iterations.cold] + [spec.iterations.tracking] * 3
    report = compare(run_frames(stages, sequence, layout.points), sequence, layout.names, TOLERANCE, stages.engine)
    assert report.max_px == 0
    last = sequence.landmarks[-1, 0, :, :2]
    assert (np.abs(last - size / 2) < size / 2).mean() > 0.9  # on a face, in the crop


def test_a_network_that_tracks_nothing_is_no_reference() -> None:
    layout = small.layout()
    _, spec, _ = trained()
    strict = spec.confidence.model_copy(update={"found": 0.999, "lost": 0.99})
    clip = dataclasses.replace(parity_clip(), frames=parity_clip().frames[:3])
    stages = TorchNetwork(load_default(), load_layout("wflw98"))
    with pytest.raises(ExportError, match="0 frames in a row, 2 are needed"):
        record_reference(stages, spec.model_copy(update={"confidence": strict}), clip, 2)
    assert len(layout) == 8
