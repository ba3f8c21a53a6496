"""The float stem of a w8a8 extractor: the same bits whatever the precision and order of its sums."""

from __future__ import annotations

import dataclasses
import functools

import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from qlot.export.graphs.schemes import plan_for
from qlot.export.targets.onnx.convert import module_paths, under
from qlot.export.targets.onnx.exact import float_stem
from qlot.export.targets.onnx.int8 import quantise
from tests.export import small


@functools.cache
def data() -> bytes:
    stage, feeds = small.stage("windowed", "extractor"), small.recorded("windowed")["extractor"]
    return under(small.traced("windowed", "extractor"), stage, plan_for("onnx", "w8a8"), feeds).data


def extractor() -> ModelProto:
    return onnx.load_from_string(data())


def run_stem(model: ModelProto, stem: list[NodeProto], image: NDArray, dtype: torch.dtype) -> Tensor:
    """Run the stem in PyTorch, in a precision of choice."""
    constants = {t.name: torch.tensor(numpy_helper.to_array(t)).to(dtype) for t in model.graph.initializer}
    for node in model.graph.node:  # weights may be stored in half precision
        if node.op_type == "Cast" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    values = {"image": torch.from_numpy(image).to(dtype), **constants, "": None}
    for node in stem:
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inputs = [values[name] for name in node.input]
        if node.op_type in ("Conv", "MaxPool"):
            top, left, bottom, right = settings.get("pads", [0, 0, 0, 0])
            inputs[0] = F.pad(inputs[0], (left, right, top, bottom))
        if node.op_type == "Pad":
            pads = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == node.input[1])).tolist()
            value = F.pad(inputs[0], (pads[3], pads[7], pads[2], pads[6]))
        elif node.op_type == "Conv":
            strides, groups = settings.get("strides", [1, 1]), settings.get("group", 1)
            value = F.conv2d(inputs[0], *inputs[1:], stride=strides, groups=groups)
        elif node.op_type == "MaxPool":
            value = F.max_pool2d(inputs[0], settings["kernel_shape"], settings.get("strides", [1, 1]))
        elif node.op_type == "Clip":
            value = inputs[0].clamp(*([*inputs[1:], None])[:2])
        else:
            made = {"Mul": torch.mul, "Sub": torch.sub, "Round": torch.round, "Floor": torch.floor}
            value = torch.cat(inputs, 1) if node.op_type == "Concat" else made[node.op_type](*inputs)
        values[node.output[0]] = value
    return value


def rewritten(model: ModelProto) -> list[NodeProto]:
    """The nodes up to the first QuantizeLinear, without those that unpack weights."""
    entry = next(i for i, n in enumerate(model.graph.node) if n.op_type == "QuantizeLinear")
    kinds = ("Mul", "Round", "Sub", "Conv", "Clip", "Floor", "MaxPool", "Concat", "Pad")
    names = {t.name for t in model.graph.initializer}
    return [n for n in list(model.graph.node)[:entry] if n.op_type in kinds and not set(n.input) <= names]


@pytest.mark.parametrize("seed", range(3))
def test_no_bit_depends_on_precision_or_engine(seed: int) -> None:
    model, image = extractor(), small.images(3)[seed]
    stem = rewritten(model)
    assert [n.op_type for n in stem].count("Floor") >= 3
    single = run_stem(model, stem, image, torch.float32)
    assert torch.equal(single.double(), run_stem(model, stem, image, torch.float64))
    model.graph.output.append(helper.make_empty_tensor_value_info(stem[-1].output[0]))
    session = ort.InferenceSession(model.SerializeToString())
    (found,) = session.run([stem[-1].output[0]], {"image": image})
    assert torch.equal(torch.from_numpy(found), single)


def test_the_stem_as_it_was_differs() -> None:
    """The control: without the rounding, float32 and float64 do not agree to the bit."""
    model, image = small.traced("windowed", "extractor"), small.images(1)[0]
    entry = next(n.input[0] for n in extractor().graph.node if n.op_type == "QuantizeLinear")
    nodes = list(model.graph.node)
    end = next(i for i, n in enumerate(nodes) if n.output[0] == entry)
    kinds = ("Sub", "Conv", "Clip", "MaxPool", "Concat", "Pad")
    stem = [n for n in nodes[: end + 1] if n.op_type in kinds]
    single, double = (run_stem(model, stem, image, d) for d in (torch.float32, torch.float64))
    assert not torch.equal(single.double(), double)
    torch.testing.assert_close(single.double(), double, atol=1e-5, rtol=1e-5)


def test_only_a_stem_is_rewritten() -> None:
    traced, plan = small.traced("windowed", "refiner"), plan_for("onnx", "w8a8")
    plan = dataclasses.replace(plan, arithmetic={"refiner hidden linears": "int8"})  # as only a study has it
    quantised = quantise(traced, plan, module_paths(traced), small.recorded("windowed")["refiner"])
    assert "QuantizeLinear" in {n.op_type for n in quantised.graph.node}
    assert not float_stem(quantised) and not [n for n in quantised.graph.node if n.op_type == "Round"]
    assert not float_stem(traced)  # nothing is quantised


def test_it_stays_near_the_float_stem() -> None:
    stage, feeds = small.stage("windowed", "extractor"), {"image": small.images(1)[0]}
    names = [t.name for t in stage.outputs]
    found = ort.InferenceSession(data()).run(names, feeds)
    for name, value in zip(names, found, strict=True):
        wanted = small.run_torch(stage, feeds)[name]
        assert abs(value - wanted).mean() < 0.1 * wanted.std(), name


def test_maps_are_doubled_on_whole_numbers() -> None:
    model = extractor()
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    resizes = [n for n in model.graph.node if n.op_type == "Resize"]
    entries = {n.input[0]: n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    rounded = [n for n in resizes if n.output[0] in entries]
    assert rounded
    for node in rounded:
        before, after = makers[node.input[0]], entries[node.output[0]]
        assert constants[before.input[1]] == constants[after.input[1]] == 1
