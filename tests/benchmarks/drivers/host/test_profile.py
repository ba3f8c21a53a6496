"""Operators' times: those of the graph that runs, and nothing of the warm-up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qlot.benchmarks.drivers.host.profile import _summed, profile
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import QlotError


def test_the_real_graphs_operators_are_named(bundle_fp32: Path) -> None:
    extractor, refiner = profile(Bundle.open(bundle_fp32))
    assert (extractor.stage, refiner.stage) == ("extractor", "refiner")
    for found in (extractor, refiner):
        assert sum(o.share for o in found.operators) == pytest.approx(1)
        assert sum(o.milliseconds for o in found.kinds) == pytest.approx(sum(o.milliseconds for o in found.operators))
        assert [o.milliseconds for o in found.operators] == sorted(
            (o.milliseconds for o in found.operators), reverse=True
        )
        assert all(o.milliseconds >= 0 for o in found.operators)
    assert "Conv" in {o.kind for o in extractor.kinds} and "Conv" not in {o.kind for o in refiner.kinds}


def test_events_are_means_over_the_calls_after_the_warm_up() -> None:
    events = []
    for i in range(12):
        slow = 100 if i < 10 else 1
        events.append({"name": "model_run", "cat": "Session", "ts": 1000 * i, "dur": 700 * slow})
        for name, kind, time in (("a", "Conv", 300), ("b", "Conv", 100), ("c", "Mul", 200)):
            node = {"cat": "Node", "ts": 1000 * i + 1, "dur": time * slow, "args": {"op_name": kind}}
            events.append({"name": f"{name}_kernel_time", **node})
    found = _summed("extractor", events)
    assert [(o.name, o.milliseconds) for o in found.operators] == [("a", 0.3), ("c", 0.2), ("b", 0.1)]
    assert [(o.kind, o.name, o.share) for o in found.kinds] == [
        ("Conv", "2", pytest.approx(2 / 3)),
        ("Mul", "1", pytest.approx(1 / 3)),
    ]
    assert found.between == pytest.approx(0.1)


def test_other_targets_are_refused(bundle_fp32: Path) -> None:
    bundle = Bundle.open(bundle_fp32)
    other = replace(bundle, manifest=bundle.manifest.model_copy(update={"target": "tflite"}))
    with pytest.raises(QlotError, match="only onnx bundles are profiled"):
        profile(other)
