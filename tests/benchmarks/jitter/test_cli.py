from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from qlot.benchmarks.jitter.cli import commands
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import BundleError
from qlot.training.data.clip import DataError


def app() -> typer.Typer:
    made = typer.Typer()
    made.callback()(lambda: None)
    commands(made)
    return made


def test_the_help_names_its_options() -> None:
    shown = CliRunner().invoke(app(), ["jitter", "--help"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    assert all(option in shown.output for option in ("--data", "--out", "--peer", "--clips", "landmarker"))


def test_what_is_no_bundle_is_said_before_anything_is_rendered(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app(), ["jitter", str(tmp_path / "none"), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    assert isinstance(done.exception, BundleError)


def test_a_layout_without_truth_is_refused_before_anything_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = SimpleNamespace(manifest=SimpleNamespace(layout=SimpleNamespace(name="wflw98")))
    monkeypatch.setattr(Bundle, "open", lambda _: bundle)
    done = CliRunner().invoke(app(), ["jitter", "bundle", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, DataError)
    with pytest.raises(DataError, match="wflw98"):
        raise done.exception
