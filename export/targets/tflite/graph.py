"""What a TFLite file says about itself: its operators, the modules they came from, and what they cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ai_edge_litert.tools import flatbuffer_utils
from torch import nn


@dataclass(frozen=True)
class Operator:
    """One operator of the main graph.

    Attributes:
        op: its name in TFLite's schema, such as CONV_2D.
        output: name of its first output tensor, by which quantisation recipes address it.
        macs: multiply-accumulates of one call; 0 for what is neither a convolution nor a matrix product.
        stored: names of its constant inputs, bias and shapes included.
    """

    op: str
    output: str
    macs: int
    stored: tuple[str, ...]


def read(data: bytes) -> Any:
    """Parse a file into the schema's objects, which are what a conversion changes."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(data))


def written(model: Any) -> bytes:
    """Return the file of a parsed model."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operators(model: Any) -> list[Operator]:
    """List the operators of a model with one graph, in the order they run."""
    graph = model.subgraphs[0]
    return [_operator(model, graph, node) for node in graph.operators]


def histogram(found: list[Operator]) -> dict[str, int]:
    """Count operators by name."""
    return dict(sorted(Counter(o.op for o in found).items()))


def scopes(root: nn.Module) -> dict[str, str]:
    """Map the names that the converter gives modules to their paths.

    An operator is named after the chain of modules whose forward was running, each as its class and its own name.
    Modules without a forward, such as ModuleList, leave no trace; class and name together tell their children apart.
    """
    return {scope: path for path, scope in _scopes(root, "", _class_name(root))}


def module_path(tensor: str, known: Mapping[str, str]) -> str:
    """Return the path of the module that computed a tensor, or "" where that is the stage itself.

    A tensor of fused operators joins their names by ";;", the outermost operator first; ";3" tells several operators
    of one module apart.
    """
    return known.get(tensor.partition(";")[0], "")


def shorten_names(model: Any, known: Mapping[str, str]) -> None:
    """Name tensors by module path and number, in place: the converter's own names fill a tenth of a file."""
    counts: Counter[str] = Counter()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            path = module_path(tensor.name.decode(), known) or graph.name.decode() or "graph"
            tensor.name = f"{path};{counts[path]}".encode()
            counts[path] += 1


def _scopes(module: nn.Module, path: str, scope: str) -> Iterator[tuple[str, str]]:
    if not path or type(module).forward is not nn.Module.forward:
        yield path, scope
    for name, child in module.named_children():
        below = f"{path}.{name}" if path else name
        called = type(child).forward is not nn.Module.forward
        yield from _scopes(child, below, f"{scope}/{_class_name(child)}_{name}" if called else scope)


def _class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _operator(model: Any, graph: Any, node: Any) -> Operator:
    tensors = [graph.tensors[i] if i >= 0 else None for i in node.inputs]
    output = graph.tensors[node.outputs[0]]
    op = flatbuffer_utils.opcode_to_name(model, node.opcodeIndex) or "CUSTOM"
    stored = tuple(t.name.decode() for t in tensors if t is not None and model.buffers[t.buffer].data is not None)
    return Operator(op, output.name.decode(), _macs(op, [_shape(t) for t in tensors], _shape(output)), stored)


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor is None or tensor.shape is None else tuple(int(n) for n in tensor.shape)


def _macs(op: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Count from shapes: weights are (O, KH, KW, I / groups), (1, KH, KW, O) depthwise, (O, I) fully connected."""
    if op == "CONV_2D":
        return math.prod(output) * math.prod(inputs[1][1:])
    if op == "DEPTHWISE_CONV_2D":
        return math.prod(output) * math.prod(inputs[1][1:3])
    if op == "FULLY_CONNECTED":
        return math.prod(output) * inputs[1][-1]
    if op == "BATCH_MATMUL":
        return math.prod(output) * inputs[0][-1]
    return 0
