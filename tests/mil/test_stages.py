"""The project's own graphs, converted and interpreted, against PyTorch."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qlot.export.graphs.stages import Stage
from tests.export import small
from tests.mil import build
from tests.mil.build import Program, load

ct = build.ct
HALF = {"conv", "linear", "matmul", "softmax", "layer_norm"}


@functools.cache
def traced(name: str) -> Any:
    stage = small.stage("dense", name)
    return torch.export.export(stage.module, stage.example()).run_decompositions({})


def converted(stage: Stage, half: bool, path: Path) -> Program:
    precision: Any = ct.precision.FLOAT32
    if half:
        precision = ct.transform.FP16ComputePrecision(op_selector=lambda op: op.op_type in HALF)
    with build.quiet():
        model = ct.convert(
            traced(stage.name),
            inputs=[ct.TensorType(name=t.name, shape=t.shape, dtype=np.float32) for t in stage.inputs],
            outputs=[ct.TensorType(name=t.name, dtype=np.float32) for t in stage.outputs],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=precision,
            skip_model_load=True,
        )
    return load(build.save(model, path))


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("name", ["extractor", "refiner"])
def test_a_stage(name: str, half: bool, tmp_path: Path) -> None:
    stage = small.stage("dense", name)
    program = converted(stage, half, tmp_path / "stage.mlpackage")
    assert [(p.name, p.dtype, p.shape) for p in program.outputs] == [(t.name, t.dtype, t.shape) for t in stage.outputs]
    feeds = small.feeds_of(stage)
    want, got = small.run_torch(stage, feeds), program.run(feeds)
    for key, reference in want.items():
        error = np.abs(got[key] - reference).max() / np.abs(reference).max()
        assert error < (0.01 if half else 1e-5), key
        assert not half or error > 1e-7, key  # it was computed in half precision
    dtypes: set[str] = set()
    program.run(feeds, observe=lambda _, value: dtypes.add(str(value.dtype)))
    assert ("float16" in dtypes) == half
