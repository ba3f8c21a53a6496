"""The rules by which coremltools' own tests are counted; CI runs the tests themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mil import build  # noqa: F401 - skips where coremltools is missing
from tests.mil.suite import __main__ as suite


@pytest.fixture
def baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "baseline.json"
    stored = {
        "coremltools": suite.coremltools.__version__,
        "predicted": 10,
        "failing": {"a": "differs", "b": "refused"},
    }
    path.write_text(json.dumps(stored))
    monkeypatch.setattr(suite, "BASELINE", path)
    return path


@pytest.mark.parametrize(
    ("failing", "predicted", "code", "said"),
    [
        ({"a": "differs", "b": "refused"}, 10, 0, ""),
        ({"a": "differs"}, 10, 0, "no longer fails, so --update: b"),
        ({"a": "differs", "b": "refused", "c": "fails"}, 10, 1, "fails, which it did not before: c"),
        ({"a": "differs", "b": "refused"}, 9, 1, "9 tests predicted, 10 did before"),
    ],
)
def test_a_test_that_passed_and_fails_now_fails_ci(
    baseline: Path, capsys: pytest.CaptureFixture[str], failing: Any, predicted: int, code: int, said: str
) -> None:
    assert suite.compare(failing, predicted) == code
    assert said in capsys.readouterr().out


def test_a_baseline_of_another_coremltools_is_refused(baseline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline.write_text(json.dumps({"coremltools": "1.0", "predicted": 0, "failing": {}}))
    assert suite.compare({}, 10) == 1
    assert "The baseline is of coremltools 1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "notes", "why", "kind"),
    [
        ("passed", {}, "", "no prediction"),
        ("failed", {}, "", "failed before a prediction"),
        ("passed", {"predicted": True}, "", "passes"),
        ("failed", {"predicted": True}, "", "differs"),
        ("failed", {"predicted": True, "half": True}, "", "half precision"),
        ("failed", {"predicted": True, "refused": "x"}, "operation 'x' is not known", "refused"),
        ("failed", {"predicted": True, "refused": "x"}, "conv 'y' failed: why", "fails"),
        ("passed", {"predicted": True, "refused": "x"}, "", "passes"),  # it waited for the refusal
    ],
)
def test_kinds(outcome: str, notes: dict[str, Any], why: str, kind: str) -> None:
    assert suite._kind(outcome, expected=False, notes=notes, why=why) == kind
    if notes and kind not in ("no prediction", "failed before a prediction", "passes"):
        assert suite._kind("skipped", expected=True, notes=notes, why=why) == "known to fail on a Mac"


def test_the_shipped_baseline_is_of_this_coremltools() -> None:
    stored = json.loads(suite.BASELINE.read_text())
    assert stored["coremltools"] == suite.coremltools.__version__
    assert stored["predicted"] > 20 * len(stored["failing"])
