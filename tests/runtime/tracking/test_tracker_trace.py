"""The stored runs: the tracker reproduces them from the refiner's answers alone, as every port must."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from qlot.runtime.bundle.manifest import TrackerSpec
from qlot.runtime.geometry import FloatArray
from qlot.runtime.network.state import State
from qlot.runtime.tracking.tracker import Tracker
from tests.runtime.tracker_trace import look, outcome, trace

STORED: dict[str, Any] = json.loads((files("qlot.runtime.contract") / "tracker_trace.json").read_text())


class Replaying:
    """Answers in the stored order, whatever is shown."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.left: list[dict[str, Any]] = []

    def extract(self, image: FloatArray) -> Mapping[str, FloatArray]:
        assert not image.any()
        return {}

    def refine(self, features: Mapping[str, FloatArray], state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        answer = self.left.pop(0)
        return np.float32([answer["displacement"]]), np.float32([answer["covariance"]]), state.hidden


def close(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if isinstance(value, list):
            np.testing.assert_allclose(np.array(found[key]), np.array(value), atol=2e-3, err_msg=key)
        else:
            assert found[key] == (pytest.approx(value, abs=1e-4) if key == "confidence" else value), key


@pytest.mark.parametrize("name", STORED["runs"])
def test_a_stored_run_is_reproduced_without_network_and_pictures(name: str) -> None:
    spec, stored = TrackerSpec.model_validate_json(json.dumps(STORED["spec"])), STORED["runs"][name]
    stages = Replaying(spec.preprocessing.size)
    how = {option: stored[option] for option in ("rotation", "mirrored", "offline")}
    tracker = Tracker(spec, stages, **how)
    for frame in stored["frames"]:
        stages.left = list(frame["refiner"])
        black = np.zeros((frame["height"], frame["width"], 3), np.uint8)
        result, hint = look(tracker, black, frame["timestamp"])
        close(outcome(result), frame["expected"])
        assert hint == frame["hint"] and not stages.left, "as many steps as stored"


def test_the_stored_runs_are_what_the_tracker_does_with_the_pictures() -> None:
    again = json.loads(json.dumps(trace()))
    assert again["spec"] == STORED["spec"] and again["runs"].keys() == STORED["runs"].keys()
    for name, stored in STORED["runs"].items():
        for found, wanted in zip(again["runs"][name]["frames"], stored["frames"], strict=True):
            close(found["expected"], wanted["expected"])


def test_the_stored_runs_cover_the_rules() -> None:
    runs = {name: [f["expected"] for f in run["frames"]] for name, run in STORED["runs"].items()}
    following, cold = runs["following"], STORED["spec"]["iterations"]["cold"]
    assert {f["status"] for f in following} == {"searching", "tracking", "lost"}
    assert sum(not f["processed"] for f in following) == 2
    assert len({tuple(f["crop"]) for f in following if f["status"] == "tracking"}) > 8
    covered = [f for f in following if f["status"] == "lost" and f["iterations"] < cold]
    assert len(covered) > 3 and all(f["landmarks"] is None for f in covered), "not a face, but not given up"
    assert len({(f["width"], f["height"]) for f in STORED["runs"]["following"]["frames"]}) == 2

    slow = runs["slow"]
    assert [f["status"] for f in slow].index("tracking") > 6 and slow[-1]["status"] == "tracking"
    assert sum(f["hint"] for f in STORED["runs"]["slow"]["frames"]) == 1

    offline = runs["offline"]
    assert [f["iterations"] > 10 * cold for f in offline[:2]] == [True, False]
    assert [f["status"] for f in offline if f["iterations"] > 10 * cold] == ["searching"]
    assert offline[-2]["status"] == "tracking" and offline[-2]["iterations"] > 2 * cold, (
        "found in the first frame after the loss"
    )
