"""The small network in TFLite; needs the extra."""

from __future__ import annotations

import functools

import pytest

from qlot.export.graphs.schemes import plan_for
from qlot.export.targets.base import Graph
from qlot.export.targets.tflite import convert as tflite
from qlot.export.targets.tflite.modules import NamedStage
from qlot.runtime.bundle.manifest import Scheme
from tests.export import small

STAGES = ("extractor", "refiner")
SCHEMES: tuple[Scheme, ...] = ("fp32", "fp16", "w8", "w8a8")


@functools.cache
def traced(name: str) -> bytes:
    """Tracing takes by far the longest, so every scheme starts from the same one."""
    stage = small.stage("dense", name)
    return tflite.trace(stage, NamedStage(stage).eval())


@functools.cache
def graph(name: str, scheme: Scheme) -> Graph:
    stage, plan = small.stage("dense", name), plan_for("tflite", scheme)
    feeds = small.recorded("dense")[stage.name] if plan.calibrated else None
    data = traced(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tflite, "trace", lambda *_: data)
        return tflite.convert(stage, plan, feeds)
