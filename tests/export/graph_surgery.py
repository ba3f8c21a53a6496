"""The small network's graphs, whole or broken in one way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from qlot.export.targets.base import Graph
from tests.export import small


def graphs(change: Callable[[ModelProto], None] | None = None, stage: str = "refiner") -> dict[str, Graph]:
    graphs = {n: small.graph("windowed", n) for n in ("extractor", "refiner", "refiner_unrolled")}
    if change:
        model = onnx.load_from_string(graphs[stage].data)
        change(model)
        onnx.checker.check_model(model)
        graphs[stage] = dataclasses.replace(graphs[stage], data=model.SerializeToString())
    return graphs


def weight(name_part: str, by: float) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if name_part in t.name)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[0] += by
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return change


def _rename(model: ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        node.input[:] = [names.get(i, i) for i in node.input]
        node.output[:] = [names.get(o, o) for o in node.output]


def replace_output(model: ModelProto, name: str, *nodes: onnx.NodeProto, raw: str = "raw") -> None:
    """Put nodes between what computes an output (then called `raw`) and the output."""
    _rename(model, {name: raw})
    model.graph.node.extend(nodes)


def displacement_is_covariance(model: ModelProto) -> None:
    model.graph.initializer.extend(numpy_helper.from_array(np.array([v]), k) for k, v in (("s", 0), ("e", 2), ("a", 2)))
    replace_output(model, "displacement", helper.make_node("Slice", ["covariance", "s", "e", "a"], ["displacement"]))


def axes_of_displacement_swapped(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 0]), "order"))
    replace_output(model, "displacement", helper.make_node("Gather", ["raw", "order"], ["displacement"], axis=2))


def axes_of_covariance_swapped(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "order"))
    replace_output(model, "covariance", helper.make_node("Gather", ["raw", "order"], ["covariance"], axis=2))


def hidden_is_not_carried(model: ModelProto) -> None:
    replace_output(model, "hidden_out", helper.make_node("Sub", ["raw", "raw"], ["hidden_out"]))


def hidden_is_handed_through(model: ModelProto) -> None:
    replace_output(model, "hidden_out", helper.make_node("Identity", ["hidden"], ["hidden_out"]))


def landmarks_of_a_neighbour(model: ModelProto) -> None:
    order = np.roll(np.arange(len(small.layout())), 1)
    model.graph.initializer.append(numpy_helper.from_array(order, "order"))
    replace_output(model, "displacement", helper.make_node("Gather", ["raw", "order"], ["displacement"], axis=1))


BROKEN = {
    "one weight of the displacement head": weight("refiner.delta.weight", 0.05),
    "one weight of the encoder": weight("refiner.encoder.context.weight", 5.0),
    "displacement taken from covariance": displacement_is_covariance,
    "x and y swapped": axes_of_displacement_swapped,
    "covariance reversed": axes_of_covariance_swapped,
    "hidden state dropped": hidden_is_not_carried,
    "hidden state not updated": hidden_is_handed_through,
    "landmarks rolled": landmarks_of_a_neighbour,
}
