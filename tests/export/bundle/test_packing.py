"""Packings: which target takes which, under which schemes, and what the command line says otherwise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from qlot.cli.main import run_export
from qlot.export.all_targets import check_common
from qlot.export.errors import ExportError, SchemeError
from qlot.export.graphs.schemes import plan_for
from qlot.export.options import MinIOS, Packing, TargetOptions
from qlot.export.pipeline import ExportRequest, export
from qlot.export.targets import load_target
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
            "--packing single-file is for tflite alone, not for onnx: .*leave it out, or .*--target tflite",
        ),
        ("single-file", "coreml", "single-file is for tflite .*choose --packing multifunction, the same for coreml"),
        ("multifunction", "onnx", "--packing multifunction is for coreml .*leave it out, or choose --target coreml"),
        (
            "multifunction",
            "tflite",
            "multifunction is for coreml .*choose --packing single-file, the same for tflite",
        ),
        ("ort", "tflite", "--packing ort is for onnx alone, not for tflite: .*leave it out, or choose --target onnx"),
        ("ort", "coreml", "--packing ort is for onnx alone, not for coreml"),
    ],
)
def test_another_targets_packing_is_refused_with_the_nearest_choice(
    packing: Packing, target: Target, message: str, tmp_path: Path
) -> None:
    needs(target)
    with pytest.raises(ExportError, match=message):
        export(ExportRequest(target, options=TargetOptions(packing), out=tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("packing", "target"), [("single-file", "tflite"), ("multifunction", "coreml"), ("ort", "onnx")]
)
def test_a_packing_converts_as_its_target_does(packing: Packing, target: Target) -> None:
    needs(target)
    ios: MinIOS | None = 18 if target == "coreml" else None
    plain, packed = (load_target(target, TargetOptions(p, ios)) for p in (None, packing))
    assert type(plain) is type(packed)
    assert (packed.default_lowering, packed.tools) == (plain.default_lowering, plain.tools)
    assert plain.pack([], {}).graphs == {}


def test_schemes_that_ort_format_would_lose_are_refused() -> None:
    ort = load_target("onnx", TargetOptions("ort"))
    for scheme, reason in (("fp16", "no float16 kernels"), ("w8", "weights as they are computed with")):
        with pytest.raises(SchemeError, match=rf"--packing ort .* scheme {scheme}: .*{reason}.*fp32 or --int8"):
            ort.plan(plan_for("onnx", scheme))
    assert ort.plan(plan_for("onnx", "fp32")) == plan_for("onnx", "fp32")
    plain = plan_for("onnx", "w8a8")
    packed = ort.plan(plain)
    assert "float16" in plain.rules["kept float"]
    assert "float16" not in packed.rules["kept float"]
    assert packed.rules | {"kept float": ""} == plain.rules | {"kept float": ""}


def test_no_packing_is_every_targets() -> None:
    with pytest.raises(ExportError, match="ort is for one target alone: leave it out, or choose --target onnx"):
        check_common(ExportRequest("tflite", options=TargetOptions("ort")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--target", "onnx", "--packing", "multifunction"),
            "multifunction is for coreml alone, not for onnx",
        ),
        pytest.param(
            ("--target", "coreml", "--packing", "multifunction"),
            "--packing multifunction needs iOS 18, the first to open a package by function: add --min-ios 18",
            marks=pytest.mark.skipif(importlib.util.find_spec("coremltools") is None, reason="needs the extra coreml"),
        ),
        (("--target", "all", "--packing", "ort"), "--packing ort is for one target alone"),
        (("--target", "onnx", "--packing", "ort", "--fp16"), "--packing ort does not take scheme fp16"),
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
