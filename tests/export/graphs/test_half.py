from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from qlot.export.graphs.half import HalfLinear, is_half, to_half
from qlot.export.graphs.schemes import PLANS
from tests.export import small
from tests.export.modules import HIDDEN_LINEARS

PLAN = PLANS["fp16"]


def test_only_one_scheme_is_half() -> None:
    assert [s for s, p in PLANS.items() if is_half(p)] == ["fp16"]


def test_exactly_the_planned_modules_are_half() -> None:
    stage = small.stage("windowed", "refiner")
    half = to_half(stage, PLAN)
    found = {n.removeprefix("model.refiner.") for n, m in half.module.named_modules() if isinstance(m, HalfLinear)}
    assert found == HIDDEN_LINEARS
    for name, parameter in half.module.named_parameters():
        if name.startswith("model.refiner."):
            inside = name.removeprefix("model.refiner.").rpartition(".linear.")[0] in HIDDEN_LINEARS
            assert parameter.dtype == (torch.float16 if inside else torch.float32), name
        else:
            assert parameter.dtype == torch.float16, name


def test_the_given_stage_is_left_alone() -> None:
    stage = small.stage("windowed", "extractor")
    to_half(stage, PLAN)
    assert {p.dtype for p in stage.module.parameters()} == {torch.float32}
    assert not [m for m in stage.module.modules() if isinstance(m, HalfLinear)]


@pytest.mark.parametrize(("name", "tolerance"), [("extractor", 5e-3), ("refiner", 0.05)])
def test_the_graph(name: str, tolerance: float) -> None:
    stage, graph = small.stage("windowed", name), small.graph("windowed", name, "fp16")
    feeds = small.feeds_of(stage)
    model = onnx.load_from_string(graph.data)
    assert {t.type.tensor_type.elem_type for t in (*model.graph.input, *model.graph.output)} == {onnx.TensorProto.FLOAT}
    found = ort.InferenceSession(graph.data).run([t.name for t in stage.outputs], feeds)
    wanted = small.run_torch(stage, feeds)
    for spec, value in zip(stage.outputs, found, strict=True):
        off = np.abs(value - wanted[spec.name]).max()
        assert 0 < off < tolerance * max(1, np.abs(wanted[spec.name]).max()), spec.name


def test_what_stays_float() -> None:
    """Norms, softmaxes, gates and position arithmetic never see float16."""
    graph = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(small.graph("windowed", "refiner", "fp16").data), data_prop=True
    ).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output, *graph.input)}
    kept = [
        n for n in graph.node if n.op_type in ("Softmax", "Sqrt", "Tanh", "Floor", "ReduceMean", "MatMul", "Sigmoid")
    ]
    assert len(kept) > 20
    assert {types[n.output[0]] for n in kept} == {onnx.TensorProto.FLOAT}
    half = [n for n in graph.node if types.get(n.output[0]) == onnx.TensorProto.FLOAT16]
    assert {n.op_type for n in half} == {"Gemm", "Cast"}
    assert sum(n.op_type == "Gemm" for n in half) == len(HIDDEN_LINEARS)
