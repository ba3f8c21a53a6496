"""The end of an export: three lines at most, and never a failure."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from qlot.export.lint import run
from qlot.export.lint.summary import print_summary
from qlot.runtime.bundle.folder import Bundle
from tests.runtime.bundles import write_bundle


def printed(bundle: Bundle) -> list[str]:
    stream = io.StringIO()
    print_summary(Console(file=stream, width=80), bundle)
    return stream.getvalue().splitlines()


def test_counts_the_worst_finding_and_where_to_read_on(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "b", golden=False))
    first, second, third = printed(bundle)
    assert first.startswith("lint, predicted: 0 errors, ")
    assert second.strip().startswith("warning onnx/")
    assert third.strip() == f"not run on any device; `qlot lint {bundle.path}` says more"


def test_nothing_that_goes_wrong_reaches_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "b", golden=False))
    (line,) = printed(replace(bundle, path=tmp_path / "gone"))
    assert line.startswith("lint: nothing predicted: ")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a slip")

    monkeypatch.setattr(run, "lint", broken)
    assert printed(bundle) == ["lint: nothing predicted: a slip"]
