"""How TFLite files store what they compute with in float32: larger constants as float16, unpacked once, at load.

The unpacking is a DEQUANTIZE of a constant, which XNNPACK does when it prepares its partition, so arithmetic and speed
are those of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from qlot.export.graphs.schemes import LEAST_VALUES, SchemePlan
from qlot.export.targets.tflite.clamps import opcode

_HALF = np.finfo(np.float16)


def store(model: Any, plan: SchemePlan) -> None:
    """Store larger float32 constants as float16, in place, unless the plan keeps float32.

    Args:
        model: of one graph; what the quantiser has already stored otherwise is left alone.
        plan: the scheme; fp32 leaves the model as it is.
    """
    if plan.name == "fp32":
        return
    graph = model.subgraphs[0]
    narrowed: dict[int, int] = {}  # old buffer -> new one: constants may share theirs
    unpacking = []
    for index, tensor in enumerate(graph.tensors):
        values = _floats(model, tensor)
        if values is None or values.size < LEAST_VALUES or np.abs(values).max() > _HALF.max:
            continue
        if tensor.buffer not in narrowed:
            narrowed[tensor.buffer] = _new_buffer(model, values.astype(np.float16))
        unpacking.append(_unpack(model, graph, index, narrowed[tensor.buffer]))
    for buffer in narrowed:
        model.buffers[buffer].data = None
    graph.operators = [*unpacking, *graph.operators]


def _floats(model: Any, tensor: Any) -> Any:
    stored = model.buffers[tensor.buffer].data
    if stored is None or tensor.type != schema.TensorType.FLOAT32:
        return None
    return np.frombuffer(bytes(stored), np.float32)


def _new_buffer(model: Any, values: Any) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _unpack(model: Any, graph: Any, index: int, buffer: int) -> Any:
    """Add the float16 constant, and return the operator that makes the old tensor out of it."""
    old, half, node = graph.tensors[index], schema.TensorT(), schema.OperatorT()
    half.name, half.shape, half.type, half.buffer = old.name + b";half", old.shape, schema.TensorType.FLOAT16, buffer
    graph.tensors.append(half)
    old.buffer = 0  # by convention the empty one
    node.opcodeIndex = opcode(model, schema.BuiltinOperator.DEQUANTIZE)
    node.inputs, node.outputs = [len(graph.tensors) - 1], [index]
    node.builtinOptionsType, node.builtinOptions = schema.BuiltinOptions.DequantizeOptions, schema.DequantizeOptionsT()
    return node
