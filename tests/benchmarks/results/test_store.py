"""A folder of results: nothing in it is ever replaced, and what cannot be used is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qlot.benchmarks.results.errors import (
    CorruptError,
    ForeignError,
    InvalidError,
    OversizedError,
    RepeatedError,
    VersionError,
)
from qlot.benchmarks.results.model import RunResult
from qlot.benchmarks.results.paste import to_text
from qlot.benchmarks.results.store import add, load
from tests.benchmarks.made import data, result


def test_results_are_added(tmp_path: Path) -> None:
    paths = [add(tmp_path / "new", result(number=n, device="Fold / 2 (beta)")) for n in (2, 1)]
    assert [p.name for p in paths] == [
        "20261201T100002Z-fold-2-beta-00000000.json",
        "20261201T100001Z-fold-2-beta-00000000.json",
    ]
    assert [r.run.id[-1] for r in load([tmp_path / "new"]).results.values()] == ["1", "2"]
    assert not [p for p in (tmp_path / "new").iterdir() if p.suffix != ".json"]


def test_a_run_is_never_replaced(tmp_path: Path) -> None:
    path = add(tmp_path, result())
    before = path.read_bytes()
    with pytest.raises(RepeatedError, match="never changed"):
        add(tmp_path, result(device="a machine", cores=1))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = add(tmp_path, result())
    with pytest.raises(RepeatedError, match="never changed"):
        add(tmp_path, result())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_used_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    add(tmp_path, result(number=1))
    (tmp_path / "copy.json").write_text(result(number=1).model_dump_json())
    (tmp_path / "cut.json").write_text(result(number=2).model_dump_json()[:-20])
    (tmp_path / "foreign.json").write_text('{"context": {}}')
    (tmp_path / "future.json").write_text('{"format": "qlot-bench", "schema_version": "9.0"}')
    (tmp_path / "huge.json").write_bytes(b" " * (32 * 2**20 + 1))
    loud = RunResult.model_validate(data(number=3) | {"valid": False, "reasons": ["others took 60 % of the time"]})
    (tmp_path / "loud.json").write_text(loud.model_dump_json())
    found = load([tmp_path, tmp_path / "none.json"])
    assert [r.run.id[-1] for r in found.results.values()] == ["1"]
    named = {Path(str(e).split(":")[0]).name: type(e) for e in found.refused}
    assert named == {
        "copy.json": RepeatedError,
        "cut.json": CorruptError,
        "foreign.json": ForeignError,
        "future.json": VersionError,
        "huge.json": OversizedError,
        "loud.json": InvalidError,
        "none.json": CorruptError,
    }
    assert "others took 60 %" in str(next(e for e in found.refused if isinstance(e, InvalidError)))
    assert len(load([tmp_path], invalid=True).results) == 2


def test_pasted_results_come_from_text_files(tmp_path: Path) -> None:
    (tmp_path / "issue.md").write_text(f"My phone:\n\n```\n{to_text(result(number=4))}\n```\nbye")
    assert [r.run.id[-1] for r in load([tmp_path / "issue.md"]).results.values()] == ["4"]


def test_an_empty_folder_is_no_result(tmp_path: Path) -> None:
    assert [str(e) for e in load([tmp_path]).refused] == [f"{tmp_path}: no .json file in this folder"]
