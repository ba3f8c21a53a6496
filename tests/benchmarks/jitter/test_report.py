from __future__ import annotations

import json
import math
from collections.abc import Sequence
from io import StringIO
from itertools import count
from pathlib import Path

import cv2
from rich.console import Console

from qlot.benchmarks.jitter.measures import (
    BLINK_DEPTH,
    ERROR,
    FLICKER,
    LATENCY,
    LOST,
    NMF,
    OVERSHOOT,
    PUPILS,
    RAMP_FLICKER,
    RAMP_LAG,
    gain_of,
    lag_of,
)  # fmt: skip
from qlot.benchmarks.jitter.methods import Method, methods
from qlot.benchmarks.jitter.protocol import JitterProtocol, SineSpec, load_protocol
from qlot.benchmarks.jitter.report import picks, plot, record, tables
from qlot.benchmarks.jitter.run import MethodScores, Score
from qlot.runtime.bundle.manifest import SteadySpec
from tests.benchmarks.jitter.made import small_protocol

PROTOCOL = small_protocol()


def result(label: str, flicker: float, lag: float) -> MethodScores:
    scores = {FLICKER: Score((flicker, flicker)), lag_of(1): Score((lag, lag + 2))}
    return MethodScores(Method(label, label, "QLOT"), scores)


RESULTS = [result("raw", 0.2, 1.0), result("smooth", 0.02, 60.0), result("lost", math.nan, math.nan)]


def test_the_record_is_json_and_says_what_its_keys_mean() -> None:
    text = json.dumps(record(RESULTS, PROTOCOL, {"preset": "made"}), allow_nan=False)
    stored = json.loads(text)
    assert stored["preset"] == "made" and stored["protocol"] == PROTOCOL.model_dump(mode="json")
    raw, _, lost = stored["methods"]
    assert raw["scores"][lag_of(1)] == {"mean": 2.0, "faces": [1.0, 3.0]}
    assert lost["scores"][FLICKER]["mean"] is None
    assert {key for method in stored["methods"] for key in method["scores"]} <= set(stored["measures"])


def printed(results: Sequence[MethodScores], protocol: JitterProtocol) -> list[str]:
    """What a terminal of 80 columns shows."""
    out = StringIO()
    Console(file=out, width=80).print(*tables(results, protocol), sep="\n")
    return out.getvalue().splitlines()


def test_the_tables_have_a_row_per_method_and_dashes_where_nothing_is_known() -> None:
    lines = printed(RESULTS, PROTOCOL)
    assert all(sum(name in line for line in lines) == 2 for name in ("raw", "smooth", "lost "))
    assert "0.2" in next(line for line in lines if "raw" in line)
    assert not any("nan" in line for line in lines)


def test_every_figure_of_the_committed_protocol_is_whole_in_80_columns() -> None:
    protocol, numbers = load_protocol(), count(1)
    keys = [FLICKER, NMF, RAMP_LAG, RAMP_FLICKER, OVERSHOOT, BLINK_DEPTH, PUPILS, ERROR, LOST]
    keys += [key(m.hertz) for m in protocol.motions if isinstance(m, SineSpec) for key in (lag_of, gain_of)]
    results = [
        MethodScores(method, {key: Score((-(100 + next(numbers) / 10),)) for key in keys})
        for method in methods(protocol, SteadySpec(), ["FaceMesh"])
    ]
    lines = printed(results, protocol)
    text = "\n".join(lines)
    assert "…" not in text and max(map(len, lines)) <= 80
    shown = {key for key in keys if not key.startswith("gain")} | {gain_of(4)}
    wanted = [f"{r.mean(key):.3g}" for r in results for key in shown]
    assert all(found in text.split() for found in wanted)
    assert all(word in text for r in results for word in r.method.label.split())


def test_a_user_picks_among_defaults_and_peers_with_the_usual_filter() -> None:
    found = methods(load_protocol(), SteadySpec(), ["FaceLandmarker", "FaceMesh"])
    results = [MethodScores(method, {LATENCY: Score((4.0, 6.0))}) for method in found]
    out = StringIO()
    Console(file=out, width=80).print(picks(results))
    lines = [line for line in out.getvalue().splitlines() if " 5 " in line]
    labels = [line.split("  ")[0].strip() for line in lines]
    assert labels[:3] == ["QLOT", "FaceLandmarker", "FaceMesh"] and len(labels) == 5


def test_the_plot_is_a_picture_even_if_everything_was_lost(tmp_path: Path) -> None:
    for name, results in (("some", RESULTS), ("none", RESULTS[2:])):
        path = tmp_path / f"{name}.png"
        plot(results, path, "made-up")
        picture = cv2.imread(str(path))
        assert picture is not None and picture.std() > 1
    assert len(list(tmp_path.iterdir())) == 2
