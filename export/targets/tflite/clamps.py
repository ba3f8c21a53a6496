"""Clamps of int8 convolutions in a form that XNNPACK has in int8.

The clamp max(z, b) that a learnable affine block becomes (`qlot.model.fuse`) is a MAXIMUM, which XNNPACK runs in float
only: each would leave the delegate. With b rounded to the scale of the output, which int8 does to it anyway, it is
relu(z - b) + b: the subtraction goes into the bias, the ReLU into the convolution. Both tensors have one scale, so the
addition only moves integers, and there is none where b rounds to 0.

Leaving the clamp to the saturation at the lower end of the range would not do: a concatenation gives its inputs the
widest range among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

Ranges = dict[str, dict[str, NDArray[np.float32]]]  # tensor name -> "min" and "max"

LEVELS = 255  # steps between the ends of an int8 range
_CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D"}


def without_maximum(model: Any, ranges: Ranges) -> Ranges:
    """Replace the MAXIMUM of every clamped convolution, in the float graph about to be quantised.

    Args:
        model: traced in float32, changed in place. As a float graph it then clamps at the rounded bounds.
        ranges: the calibrated ranges of its tensors.

    Returns:
        The ranges to quantise it with.
    """
    ranges = dict(ranges)
    graph = model.subgraphs[0]
    for conv, clamp, bound in list(_clamped(model, graph)):
        z, y = (graph.tensors[node.outputs[0]].name.decode() for node in (conv, clamp))
        conv.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
        top = ranges[y]["max"]
        low = np.full_like(top, min(bound, 0.0))
        scale = float((top - low).item()) / LEVELS
        bound = round(bound / scale) * scale
        ranges[y], ranges[z] = {"min": low, "max": top}, {"min": low - bound, "max": top - bound}
        if bound == 0:
            conv.outputs = clamp.outputs
            graph.operators.remove(clamp)
            continue
        conv.inputs = [*conv.inputs[:2], _new_constant(model, graph, _bias(model, graph, conv) - np.float32(bound))]
        clamp.inputs = [conv.outputs[0], _new_constant(model, graph, np.array([bound], np.float32))]
        clamp.opcodeIndex = opcode(model, schema.BuiltinOperator.ADD)
        clamp.builtinOptionsType, clamp.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    return ranges


def _clamped(model: Any, graph: Any) -> Iterator[tuple[Any, Any, float]]:
    """Yield each convolution whose only reader is a MAXIMUM with a constant, that MAXIMUM, and the constant."""
    makers = {t: node for node in graph.operators for t in node.outputs}
    readers = Counter(int(t) for node in graph.operators for t in node.inputs)
    for node in graph.operators:
        if flatbuffer_utils.opcode_to_name(model, node.opcodeIndex) != "MAXIMUM":
            continue
        values = [_constant(model, graph, t) for t in node.inputs]
        for t, bound in zip(node.inputs, reversed(values), strict=True):
            maker = makers.get(t)
            if bound is None or bound.size != 1 or maker is None or readers[int(t)] != 1:
                continue
            if flatbuffer_utils.opcode_to_name(model, maker.opcodeIndex) in _CONVOLUTIONS:
                yield maker, node, float(bound.item())


def _constant(model: Any, graph: Any, index: int) -> NDArray[np.float32] | None:
    stored = model.buffers[graph.tensors[index].buffer].data
    return None if stored is None else np.frombuffer(bytes(stored), np.float32)


def _bias(model: Any, graph: Any, conv: Any) -> NDArray[np.float32]:
    values = _constant(model, graph, conv.inputs[2])
    assert values is not None, "a fused convolution has a bias"
    return values


def _new_constant(model: Any, graph: Any, values: NDArray[np.float32]) -> int:
    """Add a vector and return its tensor's index; constants in place may be shared between operators."""
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.shape, tensor.type, tensor.buffer = [len(values)], schema.TensorType.FLOAT32, len(model.buffers) - 1
    tensor.name = f"clamp;{len(graph.tensors)}".encode()
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def opcode(model: Any, builtin: int) -> int:
    """Return the index of an operator code, which the file gets if it has none yet."""
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
