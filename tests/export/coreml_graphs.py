"""The small network in Core ML packages; needs the extra."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from qlot.export.graphs.schemes import plan_for
from qlot.export.targets.base import Graph
from qlot.export.targets.coreml import convert as coreml
from qlot.runtime.bundle.manifest import Scheme, StageSpec
from qlot.runtime.network.sessions.coreml import load
from qlot.runtime.quiet import quiet
from tests.export import small

STAGES = ("extractor", "refiner")
SCHEMES: tuple[Scheme, ...] = ("fp32", "fp16", "w8", "w8a8")
MODEL, WEIGHTS = (f"Data/com.apple.CoreML/{name}" for name in ("model.mlmodel", "weights/weight.bin"))


@functools.cache
def traced(name: str) -> Any:
    """Tracing and lowering take by far the longest, so every scheme starts from the same ones."""
    with quiet():
        return coreml.trace(small.stage("dense", name))


@functools.cache
def lowered(name: str, half: bool) -> Any:
    exported = traced(name)
    with quiet(), torch.no_grad():
        plan = plan_for("coreml", "fp16" if half else "fp32")
        return coreml.lower(exported, small.stage("dense", name), plan, coreml.weight_paths(exported))


@functools.cache
def graph(name: str, scheme: Scheme) -> Graph:
    plan = plan_for("coreml", scheme)
    half = scheme == "fp16" or (scheme == "w8a8" and name == "extractor")  # int8 starts from there
    model = lowered(name, half)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coreml, "trace", lambda _: traced(name))
        patch.setattr(coreml, "lower", lambda *_: model)
        return coreml.convert(small.stage("dense", name), plan, feeds(name) if plan.calibrated else None)


def feeds(name: str) -> Any:
    return small.recorded("dense")[small.stage("dense", name).name]


def run(files: Mapping[str, bytes], name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    stage = small.stage("dense", name)
    spec = StageSpec(file="", iterations=stage.iterations, inputs=stage.inputs, outputs=stage.outputs, macs=0, ops={})
    return load(files, spec, name, 1).run(inputs)


def relative(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    return max(float(np.sqrt(np.square(found[k] - v).mean()) / v.std()) for k, v in wanted.items())
