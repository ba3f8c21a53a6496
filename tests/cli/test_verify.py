"""`qlot verify --torch` and its page, on a real bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qlot.cli.main import run


def code_of(*arguments: object) -> object:
    with pytest.raises(SystemExit) as stop:
        run(list(map(str, arguments)))
    return stop.value.code


@pytest.mark.slow
def test_all_levels_are_printed_and_written(
    bundle_fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(bundle_fp32.rglob("*"))
    page = tmp_path / "page.html"
    assert code_of("verify", bundle_fp32, "--torch", "--report", page) == 0
    said = capsys.readouterr().out
    for part in (
        "extractor alone",
        "refiner alone",
        "free run",
        "still, noisy",
        "moving, noisy",
        "onnxruntime",
        "passed",
    ):
        assert part in said
    text = page.read_text(encoding="utf-8")
    assert "98 landmarks" in text and "HOST" in text and "FAILED" not in text
    assert sorted(bundle_fp32.rglob("*")) == before
    assert code_of("verify", bundle_fp32) == 0


def test_a_report_needs_pytorch_beside_it(
    bundle_fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("verify", bundle_fp32, "--report", tmp_path / "page.html") == 2
    assert "--report needs --torch" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-c", "nano"), "--checkpoint needs --torch"),
        (("--torch", "--threads", "2"), "--threads is for the golden replay"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    bundle_fp32: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("verify", bundle_fp32, *options) == 2
    assert message in capsys.readouterr().err


def test_without_a_golden_sequence_the_code_is_not_that_of_a_failure(
    bundle_fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(bundle_fp32, tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["golden"] = {"included": False}
    manifest["files"] = [f for f in manifest["files"] if not f["path"].startswith("golden/")]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    shutil.rmtree(folder / "golden")
    assert code_of("verify", folder) == 2
    assert "exported with --no-golden" in capsys.readouterr().err


def test_a_page_inside_the_bundle_is_refused(bundle_fp32: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = bundle_fp32 / "page.html"
    assert code_of("verify", bundle_fp32, "--torch", "--report", page) == 2
    assert "inside the bundle" in capsys.readouterr().err
    assert not page.exists()
