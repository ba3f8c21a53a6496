"""Whole bundles: what the command prints and returns, and that it needs no engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qlot.cli.main import run
from qlot.export.lint.finding import Severity
from qlot.export.lint.graph import LintError
from qlot.export.lint.run import RULES, lint
from qlot.export.lint.show import as_data
from qlot.runtime.bundle.folder import Bundle
from tests.runtime.bundles import edit_manifest, rehash, write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("lint") / "bundle", unrolled=True)


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        run(["lint", *arguments])
    captured = capsys.readouterr()
    return int(str(stopped.value.code)), captured.out, captured.err


def test_a_bundle_without_errors_passes_and_every_line_of_it_is_a_prediction(bundle: Path) -> None:
    report = lint(Bundle.open(bundle))
    assert not report.failed
    assert {p.stage for p in report.placements} == {"extractor", "refiner", "refiner_unrolled"}
    data = as_data(report)
    assert data["label"] == "predicted"
    assert all(part["label"] == "predicted" for part in (*data["findings"], *data["placements"]))
    assert all(f["source"] and f["remedy"] for f in data["findings"])
    severities = [Severity[f["severity"].upper()] for f in data["findings"]]
    assert severities == sorted(severities, reverse=True)
    assert "onnx/coreml-ep-op" in {f["rule"] for f in data["findings"]}  # ReduceSumSquare, for one


def test_an_engine_that_is_too_old_fails_the_command(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, str(bundle), "--engine-version", "1.10", "--json")
    assert code == 1
    data = json.loads(out)
    assert data["counts"]["error"] == len([f for f in data["findings"] if f["severity"] == "error"]) > 0
    assert command(capsys, str(bundle), "--engine-version", "1.20")[0] == 0


def test_the_page_fits_80_columns(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = command(capsys, str(bundle), "--device", "a16")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "predicted" in out
    assert "nothing was run" in " ".join(out.split())
    assert "source: " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "a99"], "error: there is no device family 'a99'; there are: a12"),
        (["--device", "mali"], "error: no onnx bundle runs on mali's units"),
        (["--engine-version", "9"], "error: ONNX Runtime '9' is not in the table"),
    ],
)
def test_what_cannot_be_told_is_one_line(
    bundle: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = command(capsys, str(bundle), *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_the_page_lists_every_rule_with_its_severity() -> None:
    page = (Path(__file__).parents[3] / "docs" / "lint.md").read_text(encoding="utf-8")
    rows = {
        rule: row[2]
        for row in re.finditer(r"^\| (`\w+/[^|]*) \| (\w+) \|", page, re.M)
        for rule in re.findall(r"`([^`]+)`", row[1])
    }
    rules = [rule for target in RULES.values() for rule in target]
    assert len({rule.id for rule in rules}) == len(rules)
    wanted = {rule.id: rule.severity.word for rule in rules} | {
        "tflite/half-sum": "error",
        "tflite/half-value": "error",
    }
    assert rows == wanted


def test_no_bundle_and_a_bundle_in_ort_format_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = command(capsys, str(tmp_path / "nothing"))
    assert (code, err.count("\n")) == (2, 1)
    folder = write_bundle(tmp_path / "b", golden=False)
    (folder / "refiner.onnx").rename(folder / "refiner.ort")
    edit_manifest(folder, lambda m: m["stages"]["refiner"].update(file="refiner.ort"))
    rehash(folder)
    with pytest.raises(LintError, match=r"refiner\.ort is in ORT format"):
        lint(Bundle.open(folder))


def test_it_needs_no_engine_no_torch_and_no_format_package(bundle: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom qlot.runtime.bundle.folder import Bundle\n"
        "from qlot.export.lint.run import lint\nlint(Bundle.open(Path(sys.argv[1])))\n"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'coremltools', 'ai_edge_litert') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(bundle)], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
