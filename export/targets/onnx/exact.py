"""Float convolutions in front of the integers, made exact: whatever the order of their sums, no bit differs.

The stem of a w8a8 extractor stays float, and its output is rounded to integers. Processors add floats in orders of
their own. Where a sum lies between two integers, one processor rounds it up and another down, and behind that every
later rounding may differ too. Here the image, the weights, the biases and what passes between the stem's convolutions
are multiples of powers of two, of so few bits that every partial sum is an exact float32: the same in any order, fused
or not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from qlot.export.targets.base import StageInputs
from qlot.runtime.network.sessions.onnx import engine_options

GREY = 255 * 4  # what reaches the first convolution are quarters of a grey level
BITS = 10  # of the largest value between two convolutions
_MANTISSA = 24  # bits of a float32
_MARGIN = 1.25  # for sums larger than the largest recorded one
_OPERATORS = {"Sub", "Conv", "Clip", "Pad", "MaxPool", "Concat"}  # the model pads with zeros


def make_exact(
    model: ModelProto, quantised: ModelProto, calibration: Sequence[Mapping[str, NDArray[np.float32]]]
) -> None:
    """Round the float stem of a quantised extractor, in place. A graph that starts otherwise stays as it is.

    Args:
        model: the float32 graph.
        quantised: its QDQ form, whose stem has the float graph's nodes.
        calibration: recorded inputs, for the largest sums.
    """
    stem = float_stem(quantised)
    if stem:
        _Exact(quantised, stem, _recorded(model, stem, calibration)).rewrite()


def make_resizes_exact(model: ModelProto) -> None:
    """Let every Resize between integers of one scale work on whole numbers, in place.

    Doubling a map weighs neighbours by sixteenths, and many results lie between two integers exactly: any scale that
    is no power of two would leave it to the last bit of a product which way they are rounded.
    """
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    nodes = []
    for node in model.graph.node:
        before = makers.get(node.input[0]) if node.op_type == "Resize" else None
        after = next((n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in node.output), None)
        found = before is not None and after is not None and before.op_type == "DequantizeLinear"
        if found and constants[before.input[1]] == constants[after.input[1]]:
            name = f"{node.output[0]}_whole"
            model.graph.initializer.append(numpy_helper.from_array(np.float32(1), f"{name}_scale"))
            inputs = [before.input[0], f"{name}_scale", before.input[2]]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=name))
            node.input[0], after.input[1] = name, f"{name}_scale"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def float_stem(model: ModelProto) -> list[NodeProto]:
    """Return the nodes between the image and the first QuantizeLinear, or none if they are not a stem and no more."""
    makers = {name: node for node in model.graph.node for name in node.output}
    entry = next((n for n in model.graph.node if n.op_type == "QuantizeLinear"), None)
    if entry is None:
        return []
    found: dict[str, NodeProto] = {}
    waiting = [entry.input[0]]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.output[0] not in found:
            found[node.output[0]] = node
            waiting += node.input
    kinds = {n.op_type for n in found.values()}
    outside = [n for n in model.graph.node if n is not entry and n.output[0] not in found]
    leaks = {i for n in outside for i in n.input} & found.keys()
    if not {"Sub", "Conv", "Clip"} <= kinds <= _OPERATORS or leaks:
        return []
    return [n for n in model.graph.node if n.output[0] in found]


def _recorded(model: ModelProto, stem: Sequence[NodeProto], calibration: StageInputs) -> dict[str, float]:
    """Return the largest magnitude of each clamp's output, and of any partial sum of each convolution with a bias."""
    probe = copy.deepcopy(model)
    names = {n.output[0] for n in stem}
    nodes = [n for n in probe.graph.node if n.output[0] in names]
    constants = {t.name: numpy_helper.to_array(t) for t in probe.graph.initializer}
    added, wanted = [], [n.output[0] for n in nodes if n.op_type == "Clip"]
    for node in nodes:
        if node.op_type == "Conv" and len(node.input) == 3:
            sums = f"{node.output[0]}_absolute"
            parts = [f"{node.output[0]}_{part}" for part in ("weight", "bias")]
            for name, part in zip(node.input[1:], parts, strict=True):
                probe.graph.initializer.append(numpy_helper.from_array(np.abs(constants[name]), part))
            total = copy.deepcopy(node)
            del total.input[:]
            total.name, total.output[0] = sums, sums
            total.input.extend([f"{sums}_input", *parts])
            added += [helper.make_node("Abs", [node.input[0]], [f"{sums}_input"]), total]
            wanted.append(sums)
    del probe.graph.node[:], probe.graph.output[:]
    probe.graph.node.extend([*nodes, *added])
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
    session = ort.InferenceSession(probe.SerializeToString(), engine_options(1), providers=["CPUExecutionProvider"])
    largest = dict.fromkeys(wanted, 0.0)
    for feeds in calibration:
        for name, value in zip(wanted, session.run(wanted, dict(feeds)), strict=True):
            largest[name] = max(largest[name], float(np.abs(value).max()))
    return largest


class _Exact:
    """One stem's rewriting. Between its convolutions, values are whole numbers of `unit`."""

    def __init__(self, model: ModelProto, stem: Sequence[NodeProto], largest: Mapping[str, float]) -> None:
        self._graph, self._stem, self._largest = model.graph, stem, largest
        self._constants = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
        self._last = next(n for n in model.graph.node if n.op_type == "QuantizeLinear").input[0]
        between = [largest[n.output[0]] for n in stem if n.op_type == "Clip" and n.output[0] != self._last]
        self._unit = 2.0 ** (math.floor(math.log2(max(between, default=1.0))) + 1 - BITS)

    def rewrite(self) -> None:
        """Put the exact nodes in the places of the stem's."""
        scale, rest = 1 / GREY, np.zeros(0)  # of the input of the next convolution, and what its mean leaves over
        exact: dict[str, list[NodeProto]] = {}
        for node in self._stem:
            name = node.output[0]
            if node.op_type == "Sub":
                rest, exact[name] = self._image(node)
            elif node.op_type == "Conv" and len(node.input) == 3:
                exact[name] = [self._product(node, scale, rest)]
                scale, rest = self._unit, np.zeros(0)
            elif node.op_type == "Clip":
                exact[name] = self._clamp(node)
        nodes = [n for node in self._graph.node for n in exact.get(node.output[0], [node])]
        for node in nodes:
            if node.op_type == "QuantizeLinear" and node.input[0] == self._last:
                node.input[1] = self._constant(f"{self._last}_scale", self._constants[node.input[1]] / self._unit)
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        read = {name for node in nodes for name in node.input}
        kept = [t for t in self._graph.initializer if t.name in read]  # not the constants that were replaced
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _image(self, node: NodeProto) -> tuple[NDArray[np.float64], list[NodeProto]]:
        """Return the mean's rounding error (3,), for the next bias, and nodes: the image in steps less its mean."""
        mean, name = self._constants[node.input[1]], node.output[0]
        steps = np.rint(mean * GREY)
        return (steps / GREY - mean).ravel(), [
            helper.make_node("Mul", [node.input[0], self._constant(f"{name}_grey", GREY)], [f"{name}_steps"]),
            helper.make_node("Round", [f"{name}_steps"], [f"{name}_whole"]),
            helper.make_node("Sub", [f"{name}_whole", self._constant(f"{name}_mean", steps)], [name], name=node.name),
        ]

    def _product(self, node: NodeProto, scale: float, rest: NDArray[np.float64]) -> NodeProto:
        weight, bias = (self._constants[i] for i in node.input[1:])
        name = node.output[0]
        if rest.size:
            bias = bias + (weight * rest[:, None, None]).sum((1, 2, 3))
        bits = math.floor(_MANTISSA - math.log2(_MARGIN * max(self._largest[f"{name}_absolute"] / self._unit, 1)))
        grid = 2.0**bits
        weight, bias = (np.rint(v * grid) / grid for v in (weight * scale / self._unit, bias / self._unit))
        if not self._feeds_last(name):
            bias = bias + 0.5  # Floor rounds to nearest then
        found = copy.deepcopy(node)
        found.input[1:] = [self._constant(f"{name}_{part}", v) for part, v in (("weight", weight), ("bias", bias))]
        return found

    def _clamp(self, node: NodeProto) -> list[NodeProto]:
        name, last = node.output[0], node.output[0] == self._last
        bounds = [
            self._constant(f"{name}_{end}", self._constants[i] / self._unit if last else self._whole(i)) if i else ""
            for end, i in zip(("low", "high"), node.input[1:], strict=False)
        ]
        if last:
            return [helper.make_node("Clip", [node.input[0], *bounds], [name], name=node.name)]
        clamped = helper.make_node("Clip", [node.input[0], *bounds], [f"{name}_clamped"], name=node.name)
        return [clamped, helper.make_node("Floor", [f"{name}_clamped"], [name])]

    def _whole(self, name: str) -> NDArray[np.float64]:
        return np.rint(self._constants[name] / self._unit) + 0.5

    def _feeds_last(self, name: str) -> bool:
        return any(n.output[0] == self._last and name in n.input for n in self._stem)

    def _constant(self, name: str, value: ArrayLike) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), f"{name}_exact"))
        return f"{name}_exact"
