"""Stored narrow, computed in float32: what is stored, what the engine makes of it, and how far it is off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qlot.export.graphs.schemes import LEAST_VALUES, PLANS
from qlot.export.targets.onnx.convert import module_paths
from qlot.export.targets.onnx.storage import store
from qlot.runtime.bundle.manifest import Scheme
from tests.export import small
from tests.export.modules import HIDDEN_LINEARS, SLOTS

SCHEMES: tuple[Scheme, ...] = ("fp16", "w8", "w8a8")
STAGES = ("extractor", "refiner")


def graph(name: str, scheme: Scheme) -> ModelProto:
    return onnx.load_from_string(small.graph("windowed", name, scheme).data)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_large_weight_is_stored_in_float32(name: str, scheme: Scheme) -> None:
    stored = {t.name: t for t in graph(name, scheme).graph.initializer}
    floats = [np.prod(t.dims) for t in stored.values() if t.data_type == TensorProto.FLOAT]
    assert floats
    assert max(floats) < LEAST_VALUES
    # The check would see one: the float32 graph has some.
    assert max(np.prod(t.dims) for t in graph(name, "fp32").graph.initializer) >= LEAST_VALUES


@pytest.mark.parametrize("name", STAGES)
def test_w8_stores_exactly_the_planned_weights_as_int8(name: str) -> None:
    traced = small.traced("windowed", name)
    paths = module_paths(traced)
    weights = {n.input[1]: paths[n.name] for n in traced.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")}
    store(traced, PLANS["w8"], paths)
    narrow = {t.name.removesuffix("_stored") for t in traced.graph.initializer if t.data_type == TensorProto.INT8}
    found = {weights[n].removeprefix("model.refiner.") for n in narrow}
    if name == "refiner":
        assert found == HIDDEN_LINEARS | SLOTS
    else:
        assert found == {p for p in weights.values() if PLANS["w8"].quantised(p) == "int8 weights"}
        assert len(found) > 10


def test_int8_weights_are_off_by_half_a_step_of_their_channel_at_most() -> None:
    wanted = {t.name: numpy_helper.to_array(t) for t in graph("refiner", "fp32").graph.initializer}
    found = {t.name: numpy_helper.to_array(t) for t in graph("refiner", "w8").graph.initializer}
    pairs = [
        (wanted[n.removesuffix("_stored")], a, found[f"{n}_scale"]) for n, a in found.items() if a.dtype == np.int8
    ]
    assert len(pairs) == len(HIDDEN_LINEARS | SLOTS)
    for weight, stored, scale in pairs:
        heads, inputs, outputs = weight.shape if weight.ndim == 3 else (1, *weight.shape[::-1])
        assert inputs > 1 and scale.size == heads * outputs
        assert (np.abs(stored * scale - weight) <= scale * 0.5001).all()
        assert np.abs(stored).max() == 127


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("scheme", ["fp16", "w8"])
def test_the_engine_unpacks_at_load_and_not_in_a_run(name: str, scheme: Scheme, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(small.graph("windowed", name, scheme).data, options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx").graph
    assert not [n.name for n in optimised.node if any("_stored" in i for i in n.input)]
    assert not [t.name for t in optimised.initializer if "_stored" in t.name]


@pytest.mark.parametrize("name", STAGES)
def test_w8_stays_close_to_pytorch_and_a_wrong_scale_does_not(name: str) -> None:
    stage = small.stage("windowed", name)
    feeds = small.feeds_of(stage)
    wanted = small.run_torch(stage, feeds)

    def error(model: ModelProto) -> float:
        names = list(wanted)
        found = ort.InferenceSession(model.SerializeToString()).run(names, feeds)
        return max(
            float(np.abs(f - wanted[n]).max() / np.abs(wanted[n]).max()) for n, f in zip(names, found, strict=True)
        )

    model = graph(name, "w8")
    assert 1e-5 < error(model) < 0.1
    scale = next(t for t in model.graph.initializer if t.name.endswith("_scale"))
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * 1.5, scale.name))
    assert error(model) > 0.02


def test_what_float16_cannot_hold_and_what_is_small_stay_float32() -> None:
    weights = {"large": np.full((LEAST_VALUES,), 7e4), "small": np.ones((LEAST_VALUES - 1,)), "other": np.ones((2048,))}
    tensors = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()]
    outputs = [helper.make_tensor_value_info(f"{n}_out", TensorProto.FLOAT, a.shape) for n, a in weights.items()]
    nodes = [helper.make_node("Identity", [n], [f"{n}_out"]) for n in weights]
    model = helper.make_model(helper.make_graph(nodes, "g", [], outputs, tensors))
    store(model, PLANS["fp16"], {})
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    half = {"large": TensorProto.FLOAT, "small": TensorProto.FLOAT, "other_stored": TensorProto.FLOAT16}
    assert kinds == half
