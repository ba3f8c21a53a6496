"""The stored run: the tracker reproduces it from the refiner's answers alone, as every port must."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from qlot.runtime.bundle.manifest import TrackerSpec
from qlot.runtime.network.state import State
from qlot.runtime.tracking.result import FloatArray
from qlot.runtime.tracking.tracker import Tracker
from tests.runtime.tracker_trace import outcome, trace

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


def test_the_stored_run_is_reproduced_without_network_and_pictures() -> None:
    spec = TrackerSpec.model_validate_json(json.dumps(STORED["spec"]))
    stages = Replaying(spec.preprocessing.size)
    tracker = Tracker(spec, stages, rotation=STORED["rotation"], mirrored=STORED["mirrored"])
    for frame in STORED["frames"]:
        stages.left = list(frame["refiner"])
        black = np.zeros((frame["height"], frame["width"], 3), np.uint8)
        close(outcome(tracker.update(black, frame["timestamp"])), frame["expected"])
        assert not stages.left, "as many steps as stored"


def test_the_stored_run_is_what_the_tracker_does_with_the_pictures() -> None:
    again = json.loads(json.dumps(trace()))
    assert again["spec"] == STORED["spec"] and len(again["frames"]) == len(STORED["frames"])
    for found, wanted in zip(again["frames"], STORED["frames"], strict=True):
        close(found["expected"], wanted["expected"])


def test_the_stored_run_covers_the_rules() -> None:
    frames = [f["expected"] for f in STORED["frames"]]
    assert {f["status"] for f in frames} == {"searching", "tracking", "lost"}
    assert sum(not f["processed"] for f in frames) == 2
    crops = {tuple(f["crop"]) for f in frames if f["status"] == "tracking"}
    assert len(crops) > 8
    weak = [f for f in frames if f["status"] == "tracking" and f["confidence"] < STORED["spec"]["confidence"]["lost"]]
    assert len(weak) > 3
    assert len({(f["width"], f["height"]) for f in STORED["frames"]}) == 2
