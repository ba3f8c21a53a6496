"""The log of a run: cut where it is resumed, whole after a crash, and drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from qlot.training.fit.journal import Journal, draw_curves, read_journal


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    journal = Journal(path, 0)
    for step in (50, 100, 150):
        journal.write("train", step, lr=1e-3, frames_per_s=9.0, position=1 / step, total=2 / step)
        journal.write("validate", step, nme=300 / step, fr10=50.0, seconds=step)
    return path


def test_entries_are_read_back(log: Path) -> None:
    entries = read_journal(log)
    assert len(entries) == 6
    assert entries[0] == {
        "kind": "train", "step": 50, "lr": 0.001, "frames_per_s": 9.0, "position": 0.02, "total": 0.04,
    }  # fmt: skip


def test_a_resumed_run_repeats_no_entry(log: Path) -> None:
    Journal(log, 100).write("train", 150, total=7.0)
    assert [(e["kind"], e["step"]) for e in read_journal(log)] == [
        ("train", 50), ("validate", 50), ("train", 100), ("validate", 100), ("train", 150),
    ]  # fmt: skip
    assert read_journal(log)[-1]["total"] == 7.0


def test_a_line_cut_off_by_a_crash_is_left_out(log: Path) -> None:
    log.write_text(log.read_text() + '{"kind": "train", "step": 2')
    assert len(read_journal(log)) == 6
    Journal(log, 150).write("train", 200, total=1.0)
    assert len(read_journal(log)) == 7 and log.read_text().count("\n") == 7


def test_no_log_yet(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "log.jsonl") == []


def test_curves_are_drawn(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw_curves(read_journal(log), path)
    drawn = cv2.imread(str(path))
    assert drawn is not None and drawn.shape[1] > 800 and drawn.std() > 5
    draw_curves([], path)
    empty = cv2.imread(str(path))
    assert empty is not None and (empty.shape != drawn.shape or (empty != drawn).any())
    assert not list(tmp_path.glob("*.part"))
