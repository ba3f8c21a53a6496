"""Tiny TFLite files, by the schema's own classes; needs the extra tflite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

Shape = tuple[int, ...]


def state_update(op: str) -> bytes:
    """Return a file that computes y = x `op` h, which it returns and reads: m = |y|. Both are (98, 16)."""
    code = getattr(schema.BuiltinOperator, op)
    return model([(code, [0, 1], [2]), (schema.BuiltinOperator.ABS, [2], [3])], ["x", "h", "y", "m"], [0, 1], [2, 3])


def model(
    nodes: Sequence[tuple[int, list[int], list[int]]], names: Sequence[str], inputs: list[int], outputs: list[int]
) -> bytes:
    """Return a file of float32 tensors (98, 16) and operators without options: code, inputs, outputs."""
    whole, graph = schema.ModelT(), schema.SubGraphT()
    whole.version, whole.operatorCodes, whole.buffers = 3, [], [schema.BufferT()]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], inputs, outputs
    for name in names:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), [98, 16], schema.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
    for index, (code, ins, outs) in enumerate(nodes):
        entry, node = schema.OperatorCodeT(), schema.OperatorT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version = 1
        node.opcodeIndex, node.inputs, node.outputs = index, np.array(ins, np.int32), np.array(outs, np.int32)
        whole.operatorCodes.append(entry)
        graph.operators.append(node)
    whole.subgraphs = [graph]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(whole))
