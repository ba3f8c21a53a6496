from __future__ import annotations

import json
import math
from io import StringIO
from pathlib import Path

import cv2
from rich.console import Console

from qlot.benchmarks.jitter.measures import FLICKER, lag_of
from qlot.benchmarks.jitter.methods import Method
from qlot.benchmarks.jitter.report import plot, record, table
from qlot.benchmarks.jitter.run import Result, Score
from tests.benchmarks.jitter.made import small_protocol

PROTOCOL = small_protocol()


def result(label: str, flicker: float, lag: float) -> Result:
    return Result(Method(label, label, "QLOT"), {FLICKER: Score((flicker, flicker)), lag_of(1): Score((lag, lag + 2))})


RESULTS = [result("raw", 0.2, 1.0), result("smooth", 0.02, 60.0), result("lost", math.nan, math.nan)]


def test_the_record_is_json_and_says_what_its_keys_mean() -> None:
    text = json.dumps(record(RESULTS, PROTOCOL, {"preset": "made"}), allow_nan=False)
    stored = json.loads(text)
    assert stored["preset"] == "made" and stored["protocol"] == PROTOCOL.model_dump(mode="json")
    raw, _, lost = stored["methods"]
    assert raw["scores"][lag_of(1)] == {"mean": 2.0, "faces": [1.0, 3.0]}
    assert lost["scores"][FLICKER]["mean"] is None
    assert {key for method in stored["methods"] for key in method["scores"]} <= set(stored["measures"])


def test_the_table_has_a_row_per_method_and_dashes_where_nothing_is_known() -> None:
    out = StringIO()
    Console(file=out, width=240).print(table(RESULTS, PROTOCOL))
    lines = out.getvalue().splitlines()
    assert all(any(name in line for line in lines) for name in ("raw", "smooth", "lost"))
    assert "0.2" in next(line for line in lines if "raw" in line)
    assert "nan" not in out.getvalue()


def test_the_plot_is_a_picture_even_if_everything_was_lost(tmp_path: Path) -> None:
    for name, results in (("some", RESULTS), ("none", RESULTS[2:])):
        path = tmp_path / f"{name}.png"
        plot(results, path, "made-up")
        picture = cv2.imread(str(path))
        assert picture is not None and picture.std() > 1
    assert len(list(tmp_path.iterdir())) == 2
