"""LiteRT sessions on files built by hand: no converter is needed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from qlot.runtime.bundle.manifest import StageSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions import open_session
from tests.runtime.litert import model, spec

INSTALLED = importlib.util.find_spec("ai_edge_litert") is not None
needs_engine = pytest.mark.skipif(not INSTALLED, reason="needs ai-edge-litert")


X = {"x": np.array([[-1.0, 2.0, -3.0, 4.0]], np.float32)}


@needs_engine
def test_a_session_runs_by_name_and_says_what_ran() -> None:
    session = open_session("tflite", model("ABS", "NEG"), spec(), "refiner")
    assert session.run(X)["y"].tolist() == [[-4.0, -8.0, -12.0, -16.0]]
    assert session.engine.startswith("ai-edge-litert ")
    assert session.engine.endswith(" CPU XNNPACK")


@needs_engine
def test_the_split_between_delegate_and_interpreter_is_read_back() -> None:
    from qlot.runtime.network.sessions.tflite import TFLiteSession

    def split(data: bytes) -> tuple[int, dict[str, int]]:
        found = TFLiteSession(data, spec(), "refiner").delegation
        assert found is not None and found.delegate == "XNNPACK"
        return found.partitions, found.outside

    assert split(model("ABS", "NEG")) == (1, {})
    assert split(model("ABS", "SIGN", "NEG")) == (2, {"SIGN": 1})
    assert split(model("SIGN", "ABS")) == (1, {"SIGN": 1})
    alone = model("SIGN", fill=0)
    assert split(alone) == (0, {"SIGN": 1})
    assert TFLiteSession(alone, spec(), "refiner").engine.endswith(" CPU")


@needs_engine
def test_results_stay_when_the_session_runs_again() -> None:
    session = open_session("tflite", model("ABS"), spec(), "refiner")
    first = session.run(X)["y"]
    kept = first.copy()
    session.run({"x": X["x"] * 7})
    np.testing.assert_array_equal(first, kept)


@needs_engine
@pytest.mark.parametrize("threads", [0, -1, 65, 10**9])
def test_threads_are_bounded(threads: int) -> None:
    with pytest.raises(SessionError, match=f"threads must be 1 to 64, got {threads}"):
        open_session("tflite", model("ABS"), spec(), "refiner", threads)


@needs_engine
@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (spec(shape=(1, 5)), r"input 'x' is float32 \(1, 4\) in the graph, float32 \(1, 5\) in the manifest"),
        (spec(dtype="int32"), r"input 'x' is float32 \(1, 4\) in the graph, int32 \(1, 4\)"),
        (spec(inputs="z"), r"input 'x' is .* in the graph, missing in the manifest"),
        (spec(inputs="xw"), r"input 'w' is missing in the graph"),
        (spec(outputs="z"), r"output 'y' is .* in the graph, missing in the manifest"),
    ],
)
def test_the_graph_has_the_manifests_interface(stage: StageSpec, message: str) -> None:
    data = model("ABS")
    open_session("tflite", data, spec(), "refiner")
    with pytest.raises(SessionError, match=message):
        open_session("tflite", data, stage, "refiner")


@needs_engine
def test_a_file_of_another_stage_is_refused() -> None:
    with pytest.raises(SessionError, match=r"its signatures are \['extractor'\], wanted 'refiner'"):
        open_session("tflite", model("ABS", signature="extractor"), spec(), "refiner")


@needs_engine
@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"missing: \['x'\]"),
        ({**X, "z": X["x"]}, r"unknown: \['z'\]"),
        ({"x": X["x"][:, :3]}, r"'x' is float32 \(1, 3\), wanted float32 \(1, 4\)"),
        ({"x": X["x"].astype(np.float64)}, r"'x' is float64"),
    ],
)
def test_wrong_feeds_are_named(feeds: dict, message: str) -> None:
    session = open_session("tflite", model("ABS"), spec(), "refiner")
    with pytest.raises(SessionError, match=message):
        session.run(feeds)


@needs_engine
@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"PK\x03\x04", b"hello, world", bytes(range(256))])
def test_what_is_no_graph_is_refused_in_silence(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SessionError, match="not a TFLite model"):
        open_session("tflite", data, spec(), "refiner")
    assert capfd.readouterr().out == ""


@needs_engine
def test_a_damaged_file_is_refused_without_a_crash() -> None:
    """In a process of its own: what the engine would do with bad offsets is to end it."""
    script = """
import sys
from qlot.runtime.bundle.manifest import StageSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions import open_session
from tests.runtime.litert import model, spec
data = model("ABS", "NEG")
refused = 0
for cut in range(8, len(data), 37):
    try:
        open_session("tflite", data[:cut], spec(), "refiner")
    except SessionError:
        refused += 1
print(refused)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-500:]
    assert int(result.stdout) >= 3


@pytest.mark.skipif(INSTALLED, reason="ai-edge-litert is installed")
def test_without_the_engine_the_extra_is_named() -> None:
    with pytest.raises(SessionError, match=r"the engine of target 'tflite' is not installed: .*ai_edge_litert"):
        open_session("tflite", b"", spec(), "refiner")
