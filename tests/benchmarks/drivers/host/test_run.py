"""A run on this machine, with the real bundle: nothing is timed before the replay has passed."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from qlot.benchmarks.drivers.host import run as module
from qlot.benchmarks.drivers.host.frames import clip, endless
from qlot.benchmarks.drivers.host.run import HostRequest, run
from qlot.benchmarks.results.model import RunResult
from qlot.benchmarks.results.parse import parse_result
from qlot.runtime.errors import ParityError, QlotError


def perturbed(bundle: Path, out: Path) -> Path:
    """Copy a bundle and change one weight of its refiner; the manifest has the new file's hash."""
    shutil.copytree(bundle, out)
    path, manifest = out / "refiner.onnx", json.loads((out / "manifest.json").read_text())
    model = onnx.load(path)
    weights = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    values = numpy_helper.to_array(weights).copy()
    values.flat[values.size // 2] += 50
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    path.write_bytes(model.SerializeToString())
    spec = next(f for f in manifest["files"] if f["path"] == path.name)
    spec |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


@pytest.fixture(scope="module")
def measured(bundle_fp32: Path) -> RunResult:
    request = HostRequest((bundle_fp32, bundle_fp32), iterations=(1, 2, 4), seed=3, quick=True)
    return run(replace(request, sustained=1.0, soak=1000), lambda _: None)


def test_a_run_is_a_result(measured: RunResult) -> None:
    assert parse_result(measured.model_dump_json().encode(), "x") == measured
    assert measured.run.seed == 3 and "a quick run, to see it work" in measured.reasons
    one, other = measured.subjects
    assert one.name == "nano wflw98 onnx fp32 (bundle-fp32)" and other.name == f"{one.name} #2"
    assert one.bundle == other.bundle
    assert one.replay and one.replay.passed and one.load and one.load.open_ms > one.load.first_ms / 100
    parts = {(s.part, s.iterations) for s in one.series}
    assert parts == {
        (part, k)
        for part in (
            "frame", "preprocess", "extractor", "refiner", "postprocess", "network", "network extractor",
            "network refiner",
        )
        for k in (1, 2, 4)
    }  # fmt: skip
    assert all(len(r) == 2 for s in one.series for r in s.rounds or ())
    assert not [reason for reason in measured.reasons if "lost" in reason]


def test_the_parts_are_the_frame(measured: RunResult) -> None:
    by_part = {s.part: s.rounds for s in measured.subjects[0].series if s.iterations == 2}
    for r, frames in enumerate(by_part["frame"] or ()):
        for i, whole in enumerate(frames):
            parts = [(by_part[p] or ())[r][i] for p in ("preprocess", "extractor", "refiner", "postprocess")]  # type: ignore[index]
            assert sum(parts) == pytest.approx(whole, abs=0.01)


def test_what_follows_the_rounds_is_in_the_result(measured: RunResult) -> None:
    subject = measured.subjects[0]
    assert subject.sustained and subject.sustained.fps == 30
    assert sum(w.frames + w.missed for w in subject.sustained.windows) >= 20
    assert subject.memory.soak and len(subject.memory.soak.resident) == 10
    assert subject.energy.status == "not measured"


def test_a_bundle_with_one_weight_changed_is_not_timed(
    bundle_fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "measure", lambda *_: pytest.fail("timed"))
    broken = perturbed(bundle_fp32, tmp_path / "broken")
    with pytest.raises(ParityError, match="px off at frame"):
        run(HostRequest((bundle_fp32, broken), quick=True), lambda _: None)


def test_an_engine_that_does_not_run_the_bundle_is_refused(bundle_fp32: Path) -> None:
    with pytest.raises(QlotError, match="is for onnx, which onnxruntime runs here, not litert"):
        run(HostRequest((bundle_fp32,), engine="litert"), lambda _: None)


def test_frames_go_forth_and_back() -> None:
    frames = clip()
    source = endless()
    first = [next(source) for _ in range(2 * len(frames))]
    shown = [next(i for i, f in enumerate(frames) if f is picture) for picture, _ in first[: len(frames) + 3]]
    assert shown == [*range(len(frames)), len(frames) - 2, len(frames) - 3, len(frames) - 4]
    assert first[2 * len(frames) - 2][0] is frames[0]
    assert [t for _, t in first[:3]] == [0, 0.04, 0.08]
