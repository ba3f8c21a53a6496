"""`qlot targets` says what an export does: held against the real converters, and against a wrong table."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import get_args

import pytest

from qlot.cli.main import run
from qlot.export.errors import ExportError
from qlot.export.graphs.schemes import PLANS, plan_for
from qlot.export.options import DEFAULTS, TargetOptions
from qlot.export.support.table import NOT_YET, VERIFIED, choices, platforms, refusal, variants
from qlot.export.targets import load_target
from qlot.runtime.bundle.manifest import Target

NEEDS = {"onnx": "onnxscript", "tflite": "litert_torch", "coreml": "coremltools"}


def of_converter(target: Target, scheme: str, options: TargetOptions) -> str | None:
    """What an export says when it loads the target and makes its plan."""
    try:
        load_target(target, options).plan(plan_for(target, scheme))
    except ExportError as e:
        return str(e)
    return None


@pytest.mark.parametrize("target", get_args(Target))
def test_the_table_is_what_the_converters_take(target: Target) -> None:
    if importlib.util.find_spec(NEEDS[target]) is None:
        pytest.skip(f"needs the extra {target}")
    mine = [c for c in choices() if c.target == target and c.lowering is None]
    assert len(mine) == 7 * 4 * 3 * 2
    wrong = [(c, found) for c in mine if (found := of_converter(target, c.scheme, c.options)) != c.refused]
    assert wrong == []
    assert any(c.refused is None for c in mine) and any(c.refused for c in mine)


def test_a_table_that_differs_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a converter with a rule of its own."""
    from qlot.export.errors import SchemeError
    from qlot.export.targets.onnx.converter import OnnxConverter

    def refuse(*_: object) -> None:
        raise SchemeError("no")

    monkeypatch.setattr(OnnxConverter, "plan", refuse)
    with pytest.raises(AssertionError):
        test_the_table_is_what_the_converters_take("onnx")


def test_a_windowed_lowering_is_refused_as_by_the_converters() -> None:
    assert refusal("onnx", "fp32", DEFAULTS, "windowed") is None
    for target in ("tflite", "coreml"):
        assert "takes the dense lowering only" in str(refusal(target, "fp32", DEFAULTS, "windowed"))
        assert refusal(target, "fp32", DEFAULTS, "dense") is None


def test_every_column_is_taken_by_some_scheme() -> None:
    for target in VERIFIED:
        for flags, options in variants(target):
            assert any(refusal(target, scheme, options) is None for scheme in PLANS), (target, flags)


def test_what_was_verified_is_not_overstated() -> None:
    assert set(VERIFIED) == set(get_args(Target))
    assert NOT_YET == "on no phone and no Mac"
    assert "not Core ML itself" in VERIFIED["coreml"].here
    assert platforms("coreml")["swift"] is None and "Apple" in str(platforms("coreml")["android"])


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        run(["targets", *arguments])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_the_page_shows_every_target_scheme_and_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = said(capsys)
    for target, verified in VERIFIED.items():
        assert f"--target {target}" in text and verified.here in text
    assert text.count(NOT_YET) == 3
    assert "needs iOS 18" in text and "--packing ort does not take scheme w8" in text
    assert text.count("w4 *") == 1  # of Core ML alone


def test_json_holds_every_combination(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(said(capsys, "--json"))
    assert len(data["choices"]) == 3 * 7 * 4 * 3 * 2 * 3
    one = {"target": "coreml", "scheme": "w4", "packing": None, "min_ios": 17, "image_input": False, "lowering": None}
    (found,) = [c for c in data["choices"] if {k: v for k, v in c.items() if k != "refused"} == one]
    assert "needs iOS 18" in found["refused"]
    assert data["targets"]["tflite"]["packs_for"] == {"android": None, "swift": None, "web": None}


def test_it_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom qlot.cli.main import run; run(['targets'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--target coreml" in done.stdout
