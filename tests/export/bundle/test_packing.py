"""Packings: which target takes which, under which schemes, and what the command line says otherwise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from qlot.cli.main import run_export
from qlot.export.all_targets import check_common
from qlot.export.bundle.packing import Packing, load_converter, packed_plan
from qlot.export.errors import ExportError, SchemeError
from qlot.export.graphs.schemes import plan_for
from qlot.export.pipeline import ExportRequest, export
from qlot.export.targets.coreml.options import CoreMLOptions
from qlot.runtime.bundle.manifest import Target

NEEDS = {"onnx": "onnxscript", "tflite": "litert_torch", "coreml": "coremltools"}


def needs(target: str) -> None:
    if importlib.util.find_spec(NEEDS[target]) is None:
        pytest.skip(f"needs the extra {target}")


@pytest.mark.parametrize(
    ("packing", "target", "message"),
    [
        (
            "single-file",
            "onnx",
            "--single-file is for tflite alone, not for onnx: .*leave it out, or .*--target tflite",
        ),
        ("single-file", "coreml", "--single-file is for tflite .*choose --multifunction, the same for coreml"),
        ("multifunction", "onnx", "--multifunction is for coreml .*leave it out, or choose --target coreml"),
        ("multifunction", "tflite", "--multifunction is for coreml .*choose --single-file, the same for tflite"),
        ("ort", "tflite", "--ort is for onnx alone, not for tflite: .*leave it out, or choose --target onnx"),
        ("ort", "coreml", "--ort is for onnx alone, not for coreml"),
    ],
)
def test_another_targets_packing_is_refused_with_the_nearest_choice(
    packing: Packing, target: Target, message: str, tmp_path: Path
) -> None:
    needs(target)
    with pytest.raises(ExportError, match=message):
        export(ExportRequest(target, packing=packing, out=tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("packing", "target"), [("single-file", "tflite"), ("multifunction", "coreml"), ("ort", "onnx")]
)
def test_a_packing_converts_as_its_target_does(packing: Packing, target: Target) -> None:
    needs(target)
    plain, packed = (load_converter(target, p, CoreMLOptions(min_ios=18)) for p in (None, packing))
    assert packed.pack != plain.pack
    assert (packed.DEFAULT_LOWERING, packed.TOOLS) == (plain.DEFAULT_LOWERING, plain.TOOLS)


def test_schemes_that_ort_format_would_lose_are_refused() -> None:
    for scheme, reason in (("fp16", "no float16 kernels"), ("w8", "weights as they are computed with")):
        with pytest.raises(SchemeError, match=rf"--ort does not take scheme {scheme}: .*{reason}.*fp32 or --int8"):
            packed_plan(plan_for("onnx", scheme), "ort")
    assert packed_plan(plan_for("onnx", "fp32"), "ort") == plan_for("onnx", "fp32")
    plain = plan_for("onnx", "w8a8")
    packed = packed_plan(plain, "ort")
    assert "float16" in plain.rules["kept float"]
    assert "float16" not in packed.rules["kept float"]
    assert packed.rules | {"kept float": ""} == plain.rules | {"kept float": ""}
    for scheme in ("fp16", "w8"):
        assert packed_plan(plan_for("tflite", scheme), "single-file") == plan_for("tflite", scheme)


def test_no_packing_is_every_targets() -> None:
    with pytest.raises(ExportError, match="--ort is for one target alone: leave it out, or choose --target onnx"):
        check_common(ExportRequest("tflite", packing="ort"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "onnx", "--ort", "--single-file"), "--single-file and --ort are packings of different targets"),
        (("--target", "onnx", "--multifunction"), "--multifunction is for coreml alone, not for onnx"),
        pytest.param(
            ("--target", "coreml", "--multifunction"),
            "--multifunction needs iOS 18, the first to open a package by function: add --min-ios 18",
            marks=pytest.mark.skipif(importlib.util.find_spec("coremltools") is None, reason="needs the extra coreml"),
        ),
        (("--target", "all", "--ort"), "--ort is for one target alone"),
        (("--target", "onnx", "--ort", "--fp16"), "--ort does not take scheme fp16"),
    ],
)
def test_the_command_says_so_in_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_export([*arguments, "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
