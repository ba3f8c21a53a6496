"""The ONNX graphs: the same numbers, no forbidden operator, int8 exactly where the plan says."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from qlot.export.errors import TargetError
from qlot.export.graphs.schemes import PLANS, plan_for
from qlot.export.graphs.stages import make_stages
from qlot.export.targets.onnx.convert import IR_VERSION, OPSET, convert, gather_elements, module_paths, trace
from qlot.export.targets.onnx.int8 import quantise
from qlot.model.backbone import LearnableAffine
from qlot.model.fuse import fuse
from qlot.model.qlot import Lowering
from tests.export import small
from tests.export.modules import SOURCE_FILE

STAGES = ("extractor", "refiner", "refiner_unrolled")
# ONNX is windowed by default. Each graph is traced for some seconds; bundles with unrolled refiners are in other tests.
SLOW = [("dense", "extractor"), ("dense", "refiner"), ("windowed", "refiner_unrolled")]
GRAPHS = [
    *(pytest.param("windowed", name) for name in STAGES[:2]),
    *(pytest.param(*graph, marks=pytest.mark.slow) for graph in SLOW),
]
INTEGERS = (TensorProto.INT64, TensorProto.INT32)


def load(lowering: Lowering, name: str, scheme: str = "fp32") -> ModelProto:
    return onnx.load_from_string(small.graph(lowering, name, scheme).data)


def run(data: bytes, lowering: Lowering, name: str, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [t.name for t in small.stage(lowering, name).outputs]
    return dict(zip(names, ort.InferenceSession(data).run(names, feeds), strict=True))


@pytest.mark.parametrize(("lowering", "name"), GRAPHS)
def test_a_graph_computes_what_its_stage_does(lowering: Lowering, name: str) -> None:
    stage = small.stage(lowering, name)
    for seed in range(3):
        feeds = small.feeds_of(stage, seed)
        if name == "refiner_unrolled":
            feeds["gate"] = np.array([[2, 0.05], [0, 0.05], [50, 0]][seed], np.float32)
        found, wanted = run(small.graph(lowering, name).data, lowering, name, feeds), small.run_torch(stage, feeds)
        for key, value in wanted.items():
            np.testing.assert_allclose(found[key], value, atol=2e-5 * max(1, np.abs(value).max()), err_msg=key)


@pytest.mark.parametrize(("lowering", "name"), GRAPHS)
def test_interface_and_opset(lowering: Lowering, name: str) -> None:
    model, stage = load(lowering, name), small.stage(lowering, name)
    assert [(o.domain, o.version) for o in model.opset_import if not o.domain] == [("", OPSET)]
    assert model.ir_version == IR_VERSION == helper.find_min_ir_version_for(list(model.opset_import))
    assert {n.domain for n in model.graph.node} == {""}
    assert not model.functions
    for found, wanted in ((model.graph.input, stage.inputs), (model.graph.output, stage.outputs)):
        assert [t.name for t in found] == [t.name for t in wanted]
        assert [tuple(d.dim_value for d in t.type.tensor_type.shape.dim) for t in found] == [t.shape for t in wanted]


@pytest.mark.parametrize(("name", "scheme"), [("extractor", "fp32"), ("refiner", "fp32"), ("extractor", "w8a8")])
def test_nothing_of_this_machine_ships(name: str, scheme: str) -> None:
    data = small.graph("windowed", name, scheme).data
    for mark in (b"/root", b"/home", b"/tmp", b"site-packages", b"torch.ops", b"qlot.export"):
        assert mark not in data, mark
    assert not SOURCE_FILE.search(data)
    model = onnx.load_from_string(data)
    things = (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info)
    assert not any(t.doc_string or list(t.metadata_props) for t in things)
    # The check would see such a mark: what the tracer returns does hold them.
    assert SOURCE_FILE.search(_traced("refiner").SerializeToString())


def test_converting_twice_gives_the_same_bytes() -> None:
    again = convert(small.stage("windowed", "extractor"), PLANS["w8a8"], small.recorded("windowed")["extractor"])
    assert again == small.graph("windowed", "extractor", "w8a8")


@pytest.mark.parametrize(("lowering", "name"), [g for g in GRAPHS if g.values[1] != "extractor"])
def test_no_index_is_computed_in_floats_beyond_a_floor(lowering: Lowering, name: str) -> None:
    model = onnx.shape_inference.infer_shapes(load(lowering, name), data_prop=True)
    ops = {n.op_type for n in model.graph.node}
    assert not ops & {"GridSample", "GatherND", "ScatterND", "ScatterElements", "NonZero"}
    gathers = [n for n in model.graph.node if n.op_type in ("Gather", "GatherElements")]
    computed = [n for n in gathers if not _constant(model, n.input[1])]
    kinds = Counter(n.op_type for n in computed)
    steps = small.stage(lowering, name).iterations
    wanted = {"Gather": steps, "GatherElements": steps * small.SMALL.levels}  # feature pixels; values of every level
    assert kinds == (wanted if lowering == "windowed" else {})
    for gather in computed:
        assert _floors_behind(model, gather.input[1]) == 1


def test_values_are_gathered_as_elements() -> None:
    """The tracer's scalar Gather and the GatherElements that replaces it are the same function."""
    index = np.array([3, 0, 3, 5], np.int32)
    nodes = [
        helper.make_node("Reshape", ["index", "flat"], ["again"]),
        helper.make_node("Cast", ["again"], ["long"], to=TensorProto.INT64),
        helper.make_node("Gather", ["values", "long"], ["picked"]),
        helper.make_node("Gather", ["rows", "index"], ["picked_rows"]),
    ]
    single, integer = TensorProto.FLOAT, TensorProto.INT32
    inputs = [("values", single, [6]), ("rows", single, [6, 2]), ("index", integer, [4])]
    outputs = [("picked", single, [4]), ("picked_rows", single, [4, 2])]
    infos = [[helper.make_tensor_value_info(*v) for v in group] for group in (inputs, outputs)]
    flat = numpy_helper.from_array(np.array([-1]), "flat")
    model = helper.make_model(
        helper.make_graph(nodes, "g", *infos, [flat]), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10
    )
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = np.arange(6, dtype=np.float32)
    feeds = {"values": values, "rows": np.stack([values, -values], 1), "index": index}
    gather_elements(model)
    assert [(n.op_type, n.input[1]) for n in model.graph.node] == [("GatherElements", "index"), ("Gather", "index")]
    found = ort.InferenceSession(model.SerializeToString()).run(None, feeds)
    np.testing.assert_array_equal(found[0], values[index])
    np.testing.assert_array_equal(found[1], feeds["rows"][index])


def _constant(model: ModelProto, name: str) -> bool:
    return name in {t.name for t in model.graph.initializer}


def _floors_behind(model: ModelProto, index: str) -> int:
    """Follow an index to its Cast over integer tensors only, then to its Floor over clamps to whole numbers only."""
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    floors, integer, whole = set(), [index], []
    while integer:
        name = integer.pop()
        if name in constants:
            assert constants[name].dtype.kind == "i"
        elif makers[name].op_type == "Cast" and types[makers[name].input[0]] not in INTEGERS:
            whole.append(makers[name].input[0])
        else:
            assert types[name] in INTEGERS, f"{name} is computed in floats"
            integer += [i for i in makers[name].input if i]
    while whole:
        name = whole.pop()
        if name in constants:
            assert np.array_equal(constants[name], np.rint(constants[name]))
        elif makers[name].op_type == "Floor":
            floors.add(name)
        else:
            assert makers[name].op_type in ("Min", "Max", "Clip"), f"{name} may not be whole"
            whole += [i for i in makers[name].input if i]
    return len(floors)


def test_macs_are_what_the_modules_do() -> None:
    stage = small.stage("windowed", "extractor")
    shapes = {t.name: t.shape for t in stage.outputs}
    # A map's products: every value sums over the channels of its head.
    landmarks, channels = len(small.layout()), small.SMALL.channels
    counted = sum(math.prod(s) * channels * landmarks // s[1] for n, s in shapes.items() if n.startswith("map_"))
    assert counted

    def count(module: nn.Module, _: object, output: object) -> None:
        nonlocal counted
        counted += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in stage.module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    small.run_torch(stage, small.feeds_of(stage))
    for hook in hooks:
        hook.remove()
    assert small.graph("windowed", "extractor").macs == counted


def _traced(name: str) -> ModelProto:
    return small.traced("windowed", name)


@functools.cache
def _quantised(name: str) -> tuple[ModelProto, dict[str, str]]:
    model = _traced(name)
    paths = module_paths(model)
    return quantise(model, plan_for("onnx", "w8a8"), paths, small.recorded("windowed")[name]), paths


def _integer_products(model: ModelProto) -> dict[str, tuple[NodeProto, NodeProto]]:
    """Conv, Gemm and MatMul nodes with int8 weights: name -> DequantizeLinear of data and weights.

    A float product on an input of such a node, like the mixer's sums over landmarks, reads the same rounded values.
    """
    constants = {t.name for t in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            data, weight = (makers.get(i) for i in node.input[:2])
            if weight is not None and weight.op_type == "DequantizeLinear" and weight.input[0] in constants:
                assert data is not None
                assert data.op_type == "DequantizeLinear", f"{node.name} is half quantised"
                found[node.name] = (data, weight)
    return found


def test_int8_is_every_convolution_behind_the_stem_and_neither_maps_nor_context() -> None:
    model, paths = _quantised("extractor")
    convolutions = {n.name for n in model.graph.node if n.op_type == "Conv"}
    maps = {n for n in convolutions if not paths[n]}  # traced in no module of its own
    stem = {n for n in convolutions if ".stem." in paths[n]}
    assert len(stem) > 4
    assert len(convolutions) > 15
    assert len(maps) == 2
    assert set(_integer_products(model)) == convolutions - maps - stem
    gemm = next(n for n in model.graph.node if n.op_type == "Gemm")
    assert paths[gemm.name] == "model.pyramid.context"


@pytest.mark.parametrize("name", ["refiner", pytest.param("refiner_unrolled", marks=pytest.mark.slow)])
def test_the_refiner_rounds_no_activation(name: str) -> None:
    """Floats differ between processors in the last bit, which int8 behind them would make half a pixel of."""
    assert small.graph("windowed", name, "w8a8").data == small.graph("windowed", name, "w8").data
    assert "QuantizeLinear" not in small.graph("windowed", name, "w8a8").ops


def test_int8_means_what_the_rules_say() -> None:
    model, _ = _quantised("extractor")
    constants = {t.name: t for t in model.graph.initializer}
    for data, weight in _integer_products(model).values():
        w, scale = constants[weight.input[0]], constants[weight.input[1]]
        assert w.data_type == TensorProto.INT8
        assert max(scale.dims, default=1) in w.dims  # one scale per output channel
        assert constants[data.input[2]].data_type == TensorProto.UINT8
        assert not constants[data.input[1]].dims  # one per tensor
    assert not {n.op_type for n in model.graph.node} & {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}


def test_clamps_above_zero_are_back_on_the_integers() -> None:
    paths = module_paths(_traced("extractor"))
    clamped = [n for n in _traced("extractor").graph.node if n.op_type == "Clip"]
    low = {n.output[0]: n for n in clamped if ".stem." not in paths[n.name]}
    assert len(low) < len(clamped)
    bounds = {t.name: float(numpy_helper.to_array(t)) for t in _traced("extractor").graph.initializer if not t.dims}
    above = {name for name, n in low.items() if bounds[n.input[1]] > 0}
    assert above
    assert above != set(low)
    model, _ = _quantised("extractor")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    found = [n for n in model.graph.node if n.op_type == "Clip" and n.input[0] in makers]
    clips = [n for n in found if makers[n.input[0]].op_type == "QuantizeLinear"]  # the float stem keeps its own
    assert {makers[n.input[0]].input[0] for n in clips} == above
    for clip in clips:
        quantise_node = makers[clip.input[0]]
        scale, zero = (constants[quantise_node.input[i]] for i in (1, 2))
        back = (float(constants[clip.input[1]]) - float(zero)) * float(scale)
        assert back == pytest.approx(bounds[low[quantise_node.input[0]].input[1]], abs=float(scale) / 2 + 1e-9)


def test_int8_stays_near_and_needs_the_clamps() -> None:
    stage = small.stage("windowed", "extractor")
    feeds = dict(small.recorded("windowed")["extractor"][3])
    wanted = small.run_torch(stage, feeds)
    found = run(small.graph("windowed", "extractor", "w8a8").data, "windowed", "extractor", feeds)
    without = onnx.load_from_string(small.graph("windowed", "extractor", "w8a8").data)
    for node in without.graph.node:
        if node.op_type == "Clip":
            node.op_type = "Identity"
            del node.input[1:]
    loose = run(without.SerializeToString(), "windowed", "extractor", feeds)
    for key, value in wanted.items():
        near, far = (float(np.sqrt(np.square(x[key] - value).mean()) / value.std()) for x in (found, loose))
        assert 0 < near < 0.15, key
        assert far > 1.5 * near, key


def test_a_negative_scale_clamps_from_above_on_the_integers() -> None:
    model = copy.deepcopy(small.network())
    with torch.no_grad():
        for block in [m for m in model.modules() if isinstance(m, LearnableAffine)][::3]:
            block.scale.fill_(-0.8)
            block.bias.fill_(-0.4)
    stage = make_stages(fuse(model, torch.tensor(small.layout().points, dtype=torch.float32)))[0]
    traced, feeds = trace(stage), small.recorded("windowed")["extractor"]
    wanted = small.run_torch(stage, feeds[3])
    data = quantise(traced, PLANS["w8a8"], module_paths(traced), feeds).SerializeToString()
    for key, value in run(data, "windowed", "extractor", feeds[3]).items():
        assert np.sqrt(np.square(value - wanted[key]).mean()) < 0.04 * value.std(), key  # 0.1 without the clamps


def test_threads_of_the_calibration_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that has other work, spinning threads burn the core that the work they wait for needs."""
    found: list[str] = []
    engine = ort.InferenceSession

    def watched(*arguments: object, **settings: Any) -> ort.InferenceSession:
        if "sess_options" in settings:
            found.append(settings["sess_options"].get_session_config_entry("session.intra_op.allow_spinning"))
        return engine(*arguments, **settings)

    monkeypatch.setattr(ort, "InferenceSession", watched)
    model = _traced("extractor")
    quantise(model, plan_for("onnx", "w8a8"), module_paths(model), small.recorded("windowed")["extractor"][:2])
    assert found and set(found) == {"0"}
    assert type(ort.SessionOptions()).__module__.startswith("onnxruntime")  # whoever comes next has his own again


def test_an_empty_plan_quantises_nothing() -> None:
    plan = dataclasses.replace(PLANS["w8a8"], arithmetic=dict.fromkeys(PLANS["w8a8"].arithmetic, "float32"))
    model = _traced("refiner")
    after = quantise(model, plan, module_paths(model), small.recorded("windowed")["refiner"])
    assert after == model
    one = dataclasses.replace(PLANS["w8a8"], arithmetic={**plan.arithmetic, "extractor convolutions": "int8"})
    assert not _integer_products(quantise(model, one, module_paths(model), small.recorded("windowed")["refiner"]))


@pytest.mark.parametrize("feeds", [None, []])
def test_int8_without_calibration_is_refused(feeds: list | None) -> None:
    with pytest.raises(TargetError, match="w8a8 needs calibration inputs for the extractor"):
        convert(small.stage("windowed", "extractor"), PLANS["w8a8"], feeds)
