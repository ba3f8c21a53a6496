"""`--dry-run`: it names what an export writes, refuses what an export refuses, and writes nothing."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from qlot.cli.main import run_export
from qlot.export.dry_run import SUFFIXES, plan_export
from qlot.export.options import TargetOptions
from qlot.export.request import ExportRequest
from qlot.runtime.bundle.folder import Bundle


def code_of(*arguments: object) -> object:
    with pytest.raises(SystemExit) as stop:
        run_export(list(map(str, arguments)))
    return stop.value.code


def test_the_files_are_those_of_a_real_bundle(bundle_fp32: Path, tmp_path: Path) -> None:
    asked = ExportRequest("onnx", "fp32", checkpoint="nano", unrolled=2, out=tmp_path / "new" / "out")
    plan = plan_export(asked)
    real = {"manifest.json", *(f.path for f in Bundle.open(bundle_fp32).manifest.files)}
    assert set(plan.files) == real and len(plan.files) == len(real)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "packing", "graphs"),
    [
        ("onnx", "ort", {"extractor.ort", "refiner.ort", "required_operators.config"}),
        ("tflite", None, {"extractor.tflite", "refiner.tflite"}),
        ("tflite", "single-file", {"model.tflite"}),
        ("coreml", None, {"extractor.mlpackage", "refiner.mlpackage"}),
        ("coreml", "multifunction", {"model.mlpackage"}),
    ],
)
def test_names_of_the_packings(target: str, packing: str | None, graphs: set[str], tmp_path: Path) -> None:
    """As docs/bundle.md has them; the tests of each packing hold the converters to the same."""
    needs = {"onnx": "onnxscript", "tflite": "litert_torch", "coreml": "coremltools"}
    if importlib.util.find_spec(needs[target]) is None:
        pytest.skip(f"needs the extra {target}")
    options = TargetOptions(packing, 18 if packing == "multifunction" else None)  # type: ignore[arg-type]
    asked = ExportRequest(target, checkpoint="nano", golden=False, out=tmp_path / "out", options=options)  # type: ignore[arg-type]
    assert set(plan_export(asked).files) == {"manifest.json", "LICENSE", "NOTICE", *graphs}
    assert set(SUFFIXES) == set(needs)


def test_it_says_what_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert code_of("-t", "onnx", "--int8", "-c", "nano", "--layout", "eyes", "--report", "new/p.html", "--dry-run") == 0
    text = capsys.readouterr().out
    for part in (
        f"would be written: {tmp_path / 'qlot-nano-eyes-onnx-w8a8'}",
        "manifest.json, extractor.onnx, refiner.onnx, golden/index.json",
        "(nano, 112 px)",
        "layout: eyes, 36 landmarks",
        "lowering: windowed",
        "calibration: builtin, 100 frames",
        "report: new/p.html",
        "nothing was converted, and nothing written",
    ):
        assert part in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "there"], "exists already"),
        (["-o", "there", "--force"], "is not a bundle, so --force does not replace it"),
        (["-o", "file/out"], "cannot write beside"),
        (["--report", "page.txt"], "must be the name of an .html file"),
        (["--scheme", "w8", "--calib", "there"], "needs no calibration"),
        (["--int8", "--calib", "there"], "there"),
        (["-c", "no.pth"], "no checkpoint file 'no.pth'"),
        (["--layout", "no"], "there is no layout 'no'"),
        (["--scheme", "palette6"], "for target coreml alone"),
        (["--packing", "ort", "--fp16"], "--packing ort does not take scheme fp16"),
        (["--image-input"], "are for target coreml"),
    ],
)
def test_it_refuses_what_an_export_refuses(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    (Path("there") / "mine").write_text("")
    Path("file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    said = []
    for dry in (["--dry-run"], []):
        assert code_of("-t", "onnx", "-c", "nano", *options, *dry) == 2
        said.append(capsys.readouterr())
    assert message in said[0].err and said[0].err.count("\n") == 1
    assert said[0].err == said[1].err and said[0].out == said[1].out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_windowed_lowering_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("coremltools")
    assert code_of("-t", "coreml", "--lowering", "windowed", "-o", tmp_path / "out", "--dry-run") == 2
    assert "target coreml takes the dense lowering only" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="modules hidden from this process")
def test_all_targets_go_on_past_one_that_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "litert_torch", None)  # what an import of a missing package finds
    monkeypatch.setitem(sys.modules, "coremltools", None)
    assert code_of("-t", "all", "-c", "nano", "-o", tmp_path / "out", "--dry-run") == 2
    said = capsys.readouterr()
    assert f"would be written: {tmp_path / 'out' / 'onnx'}" in said.out
    assert "tflite: would not be written: target tflite needs litert_torch" in said.out
    assert said.err == "error: 2 of 3 bundles would not be written: tflite, coreml.\n"
    assert list(tmp_path.iterdir()) == []
