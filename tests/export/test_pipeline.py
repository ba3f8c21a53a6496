"""Exports from end to end, and everything a user can get wrong on the way."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import qlot.export
from qlot.assets import sample_clip
from qlot.cli.main import run_export
from qlot.export.bundle.writer import replacing, write_graphs
from qlot.export.errors import ExportError, SchemeError
from qlot.export.graphs.schemes import PLANS
from qlot.export.pipeline import export
from qlot.export.request import ExportRequest, ExportResult
from qlot.export.targets.base import Graph, Packed
from qlot.runtime import Bundle, QlotError
from qlot.runtime.errors import BundleError, ParityError, VideoError
from qlot.runtime.media.video import VideoReader
from qlot.runtime.media.video_writer import VideoWriter
from qlot.runtime.network.replay import replay


def test_the_written_bundle_opens_and_says_what_it_is(bundle_fp32: Path) -> None:
    bundle = Bundle.open(bundle_fp32)
    manifest = bundle.manifest
    assert set(manifest.stages) == {"extractor", "refiner", "refiner_unrolled"}
    assert manifest.stages["refiner_unrolled"].iterations == 2
    assert manifest.scheme.calibration is None
    assert manifest.parity is not None
    assert manifest.parity.frames == 120
    assert manifest.parity.max_px <= manifest.parity.tolerance.px == 0.02
    assert {f.path for f in manifest.files} >= {"LICENSE", "NOTICE", "golden/index.json", "golden/data.bin"}
    assert "Øygard" in bundle.read("NOTICE").decode()
    assert manifest.golden.frames == 30
    assert replay(bundle).passed


@dataclass(frozen=True)
class Exported:
    """One whole export by the public function, with a report and no golden sequence."""

    result: ExportResult
    page: Path
    heard: list[str]
    threads: set[int]  # of PyTorch, while it went on


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("eyes")
    page, heard, threads = folder / "page.html", list[str](), set[int]()

    def note(line: str) -> None:
        heard.append(line)
        threads.add(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(2)  # what the tests run with is one
    try:
        result = qlot.export.export(
            "onnx", folder / "out", checkpoint="nano", layout="eyes", golden=False, report=page, progress=note
        )
        threads_after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert threads_after == 2
    return Exported(result, page, heard, threads)


def test_the_public_function_is_the_whole_export(eyes: Exported) -> None:
    assert eyes.heard[-2:] == ["verifying the written bundle", "timing the stages for the report"]
    written = Bundle.open(eyes.result.bundle.path).manifest
    assert written == eyes.result.bundle.manifest  # what is returned is what was written
    assert written.parity is not None
    assert "passed" in eyes.page.read_text() and "FAILED" not in eyes.page.read_text()
    assert sorted(p.name for p in eyes.page.parent.iterdir()) == ["out", "page.html"]


def test_pytorch_waits_for_no_thread_of_its_own(eyes: Exported) -> None:
    """Two threads of which one has no core spend ten times as long, so an export has one."""
    assert eyes.threads == {1}


def test_the_public_function_is_light_to_import_and_refuses(tmp_path: Path) -> None:
    code = "import sys, qlot.export; print(qlot.export.__all__, 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "['export'] False\n"
    with pytest.raises(ExportError, match="--packing single-file is for tflite alone"):
        qlot.export.export("onnx", tmp_path / "other", packing="single-file")


def test_a_bundle_without_golden_says_so_and_cannot_be_verified(eyes: Exported) -> None:
    bundle = eyes.result.bundle
    assert not bundle.manifest.golden.included
    assert not (bundle.path / "golden").exists()
    assert len(bundle.manifest.layout.points) == 36
    with pytest.raises(BundleError, match="--no-golden"):
        replay(bundle)


@pytest.mark.slow
def test_a_parity_failure_is_the_error_whatever_else_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report keeps the folder that the export made, so the clean-up cannot remove it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PLANS, "fp32", dataclasses.replace(PLANS["fp32"], median_px=1e-9))
    with pytest.raises(SystemExit) as stop:
        run_export(["-t", "onnx", "--layout", "eyes", "-o", "new/b", "--report", "new/r.html"])
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("error: the median error of the replay is")
    assert sorted(p.as_posix() for p in Path().rglob("*")) == ["new", "new/r.html"]
    assert "FAILED" in Path("new/r.html").read_text()


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    with pytest.raises(ExportError, match="exists already"):
        export(ExportRequest("onnx", out=precious))
    with pytest.raises(ExportError, match="not a bundle"):
        export(ExportRequest("onnx", out=precious, force=True))
    assert (precious / "thesis.txt").read_text() == "years"


@pytest.mark.slow
def test_a_bundle_is_replaced_though_its_report_fails_in_the_end(
    bundle_fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ExportError("the disk went away")

    monkeypatch.setattr("qlot.export.pipeline.write_page", fails)
    out = tmp_path / "old"
    shutil.copytree(bundle_fp32, out)
    with pytest.raises(ExportError, match=rf"the bundle is written, {out}, but not its report: the disk went away"):
        export(ExportRequest("onnx", out=out, force=True, report=tmp_path / "page.html"))
    assert "refiner_unrolled" not in Bundle.open(out).manifest.stages
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("place", ["file/page.html", "/proc/page.html"])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qlot.export.pipeline._Build", None)  # the work
    Path("file").write_text("")
    with pytest.raises(ExportError, match=f"cannot write the report {place}: .*another place with --report"):
        export(ExportRequest("onnx", out=Path("out"), report=Path(place)))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_int8_is_calibrated_on_the_builtin_clip_and_says_so(bundle_int8: Path, bundle_fp32: Path) -> None:
    manifest = Bundle.open(bundle_int8).manifest
    assert manifest.scheme.calibration is not None
    assert (manifest.scheme.calibration.source, manifest.scheme.calibration.frames) == ("builtin", 100)
    assert manifest.scheme.calibration.calls["extractor"] >= 100
    assert (manifest.scheme.calibration.cold_starts or 0) >= 8  # four resets and four pauses
    assert manifest.scheme.calibration.ranges.keys() == manifest.stages.keys()
    assert manifest.parity is not None
    assert 0.01 < manifest.parity.max_px <= 1.5  # really quantised, and within its bound
    quantised, floats = ({f.path: f.bytes for f in Bundle.open(b).manifest.files} for b in (bundle_int8, bundle_fp32))
    assert quantised["extractor.onnx"] < 0.45 * floats["extractor.onnx"]  # templates stay float16
    assert quantised["refiner.onnx"] < 0.9 * floats["refiner.onnx"]  # what carries coordinates stays float


@pytest.mark.slow
def test_the_bundle_is_the_same_from_any_folder_and_twice(bundle_int8: Path, tmp_path: Path) -> None:
    again = export(ExportRequest("onnx", "int8", checkpoint="nano", out=tmp_path / "again")).bundle
    assert json.loads((again.path / "manifest.json").read_text())["files"] == [
        f.model_dump() for f in Bundle.open(bundle_int8).manifest.files
    ]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"scheme": "fp8"}, SchemeError, "unknown scheme 'fp8'; there are: fp32"),
        ({"target": "tensorrt"}, QlotError, "unknown target|unknown scheme"),
        ({"layout": "wflw99"}, ExportError, "wflw98"),
        ({"checkpoint": "nowhere.pth"}, ExportError, "no checkpoint file 'nowhere.pth'.*base"),
        ({"calibration": Path("clip.mp4")}, ExportError, "needs no calibration"),
        ({"scheme": "int8", "calibration": Path("nowhere.mp4")}, VideoError, "nowhere.mp4"),
        ({"report": Path("page.txt")}, ExportError, "must be the name of an .html file"),
    ],
)
def test_a_wrong_request_is_refused_and_nothing_is_written(
    changes: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        export(ExportRequest(**{"target": "onnx", "out": tmp_path / "out", **changes}))
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense" + bytes(64))
    with pytest.raises(ExportError, match="not a readable"):
        export(ExportRequest("onnx", checkpoint=str(path), out=tmp_path / "out"))


def test_an_empty_folder_is_filled_with_force(tmp_path: Path) -> None:
    out = tmp_path / "empty"
    out.mkdir()
    with pytest.raises(ExportError, match="exists already"), replacing(out, force=False):
        pass
    with replacing(out, force=True) as folder:
        (folder / "file").write_text("")
    assert [p.name for p in out.iterdir()] == ["file"]
    with pytest.raises(ExportError, match="is not a bundle"), replacing(out, force=True):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_a_failing_clean_up_does_not_replace_the_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replacing(tmp_path / "new" / "b", force=False):
        (tmp_path / "new" / "of another").write_text("")
        raise KeyError
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["of another"]


def test_a_full_disk_is_said_with_the_file(tmp_path: Path) -> None:
    graph = Graph(bytes(5000), ".onnx", 0, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError) as failed:
            write_graphs(tmp_path, Packed({"extractor": graph}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failed.value.filename == str(tmp_path / "extractor.onnx")


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot write beside"):
        export(ExportRequest("onnx", out=tmp_path / "file" / "bundle"))


def _clip(path: Path, frames: int, gain: float = 1.0, offset: float = 0.0) -> Path:
    with VideoWriter(path) as writer:
        for frame in VideoReader(sample_clip()):
            if frame.index < frames:
                writer.write(np.rint(frame.rgb * gain + offset).astype(np.uint8), frame.timestamp)
    return path


def test_a_short_calibration_clip_is_refused(tmp_path: Path) -> None:
    clip = _clip(tmp_path / "short.mp4", 5)
    with pytest.raises(ExportError, match="has 5 frames, calibration needs at least 32"):
        export(ExportRequest("onnx", "int8", calibration=clip, out=tmp_path / "out"))
    assert [p.name for p in tmp_path.iterdir()] == ["short.mp4"]


def test_a_clip_without_a_face_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "grey"
    folder.mkdir()
    import cv2

    for i in range(40):
        cv2.imwrite(str(folder / f"{i:03d}.png"), np.full((120, 160, 3), 90, np.uint8))
    with pytest.raises(ExportError, match="a face is tracked in 0 of 40 frames"):
        export(ExportRequest("onnx", "int8", calibration=folder, out=tmp_path / "out"))


@pytest.mark.slow
def test_beyond_the_tolerance_nothing_is_written(tmp_path: Path) -> None:
    """Negative control: ranges calibrated on a washed-out clip saturate on real frames."""
    clip = _clip(tmp_path / "pale.mp4", 60, gain=0.3, offset=90)
    with pytest.raises(ParityError, match=r"px off at frame \d+, step \d, landmark '\w+'"):
        export(ExportRequest("onnx", "int8", calibration=clip, out=tmp_path / "new" / "folders" / "out"))
    assert [p.name for p in tmp_path.iterdir()] == ["pale.mp4"]
