from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qlot.runtime.media.table import landmark_table
from qlot.runtime.tracking.result import Status
from tests.runtime.layouts import LAYOUT, POINTS, answer

SPREAD = np.array([[4.0, -1.25], [-1.25, 1e-4]], np.float32)
RESULTS = [
    answer(0.0, points=None, confidence=0.02),
    replace(answer(1 / 3, POINTS + 1 / 3, confidence=0.98765), covariances=np.tile(SPREAD, (4, 1, 1))),
    answer(0.5, points=None, status=Status.LOST, confidence=0.1),
]


def test_csv(tmp_path: Path) -> None:
    with landmark_table(tmp_path / "a.csv", LAYOUT.names, "csv") as write:
        for i, result in enumerate(RESULTS):
            write(i, result)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows[0]) == 4 + 5 * 4
    assert list(rows[0])[:6] == ["frame", "timestamp", "status", "confidence", "left_eye_x", "left_eye_y"]
    assert [(r["frame"], r["status"], r["confidence"]) for r in rows] == [
        ("0", "searching", "0.02"), ("1", "tracking", "0.9877"), ("2", "lost", "0.1"),
    ]  # fmt: skip
    assert [float(r["timestamp"]) for r in rows] == [0, 1 / 3, 0.5]
    assert set(list(rows[0].values())[4:]) == set(list(rows[2].values())[4:]) == {""}
    nose = [float(rows[1][f"nose_{c}"]) for c in ("x", "y", "sxx", "sxy", "syy")]
    assert nose == pytest.approx([60.333, 50.333, 4, -1.25, 1e-4])


def test_json_lines(tmp_path: Path) -> None:
    with landmark_table(tmp_path / "a.jsonl", LAYOUT.names, "jsonl") as write:
        for i, result in enumerate(RESULTS):
            write(i, result)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["landmarks"] is None for line in lines] == [True, False, True]
    assert {k: v for k, v in lines[1].items() if k != "landmarks"} == {
        "frame": 1, "timestamp": 1 / 3, "status": "tracking", "confidence": 0.9877,
    }  # fmt: skip
    assert list(lines[1]["landmarks"]) == list(LAYOUT.names)
    assert lines[1]["landmarks"]["mouth"] == pytest.approx([60.333, 75.333, 4, -1.25, 1e-4])


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_failure_leaves_the_earlier_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "table"
    path.write_text("earlier")
    with pytest.raises(RuntimeError), landmark_table(path, LAYOUT.names, form) as write:  # type: ignore[arg-type]
        write(0, RESULTS[1])
        raise RuntimeError
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]
