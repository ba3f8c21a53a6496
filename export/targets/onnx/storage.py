"""How ONNX graphs store what they compute with in float32: weights as int8 or float16, unpacked once, at load.

An unpacked weight is Cast, or Cast and Mul, of a constant: ONNX Runtime folds both before the first run, so arithmetic
and speed are those of float32. DequantizeLinear would say the same, but engines keep it for int8 kernels to claim, and
where none does they unpack in every run.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from qlot.export.graphs.schemes import LEAST_VALUES, SchemePlan

_HALF = np.finfo(np.float16)


def store(model: ModelProto, plan: SchemePlan, paths: Mapping[str, str]) -> None:
    """Store the weights of a float32 graph as the plan says, in place.

    Args:
        model: traced graph; what a quantiser has already made int8 is left alone.
        plan: groups with "int8 weights" are stored so per output channel, larger weights of all else as the plan keeps
            them.
        paths: module path of each node, for what the plan names.
    """
    narrow = {
        name: within
        for node in model.graph.node
        if plan.quantised(paths.get(node.name, "")) == "int8 weights"
        for name, within in _weights(node)
    }
    unpacking: list[NodeProto] = []
    scales: list[TensorProto] = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if tensor.name in narrow:
            scale, nodes = _as_int8(tensor, values, narrow[tensor.name])
            scales.append(scale)
            unpacking += nodes
        elif plan.kept == "float16" and values.size >= LEAST_VALUES and np.abs(values).max() <= _HALF.max:
            unpacking += _as_half(tensor, values)
    model.graph.initializer.extend(scales)
    nodes = [*unpacking, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _as_half(tensor: TensorProto, values: NDArray[np.float32]) -> list[NodeProto]:
    name, stored = _replace(tensor, values.astype(np.float16))
    return [helper.make_node("Cast", [stored], [name], name=f"{stored}_unpacked", to=TensorProto.FLOAT)]


def _as_int8(
    tensor: TensorProto, values: NDArray[np.float32], within: tuple[int, ...]
) -> tuple[TensorProto, list[NodeProto]]:
    """Symmetric, per output channel: the largest magnitude of a channel, over the axes `within` it, becomes 127."""
    largest = np.abs(values).max(within, keepdims=True)
    scale = (np.where(largest > 0, largest, 127) / 127).astype(np.float32)
    name, stored = _replace(tensor, np.rint(values / scale).astype(np.int8))
    return numpy_helper.from_array(scale, f"{stored}_scale"), [
        helper.make_node("Cast", [stored], [f"{stored}_cast"], name=f"{stored}_float", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{stored}_cast", f"{stored}_scale"], [name], name=f"{stored}_unpacked"),
    ]


def _replace(tensor: TensorProto, values: NDArray[np.generic]) -> tuple[str, str]:
    """Put other values into an initializer, under a name of their own; return the old name and the new one."""
    name, stored = tensor.name, f"{tensor.name}_stored"
    tensor.CopyFrom(numpy_helper.from_array(values, stored))
    return name, stored


def _weights(node: NodeProto) -> list[tuple[str, tuple[int, ...]]]:
    """Return the inputs of an operator that are weights if they are constants, with the axes within one channel."""
    if node.op_type == "Conv":
        return [(node.input[1], (1, 2, 3))]
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return [(node.input[1], (1,) if transposed else (0,))]
    if node.op_type == "MatMul":  # one channel per column of a right factor, and per row of a left one
        return [(node.input[0], (-1,)), (node.input[1], (-2,))]
    if node.op_type == "Reshape":  # templates: one channel per landmark and head, of (..., channels, rows, columns)
        return [(node.input[0], (-3, -2, -1))]
    return []
