"""Read a TFLite file by the runtime's own flatbuffer reader. Slots and codes are those of TFLite's schema.fbs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlot.export.lint.graph import GraphNode, GraphTensor, LintError, StageGraph
from qlot.runtime.network.sessions.flatbuffer import Table, root

_CODES, _SUBGRAPHS, _BUFFERS, _SIGNATURES = 6, 8, 12, 18
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 4, 6, 8, 10
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTISATION = 4, 6, 8, 10, 12
_SCALE, _ZERO, _AXIS = 8, 10, 16
_SIGNED_IN, _SIGNED_OUT, _SIGNED_KEY, _SIGNED_GRAPH = 4, 6, 8, 12
_MAP_NAME, _MAP_INDEX = 4, 6
_CODE, _NODE_IN, _NODE_OUT, _OPTIONS = 4, 6, 8, 12
_DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "string", 6: "bool", 7: "int16", 9: "int8",
    10: "float64", 15: "uint32", 16: "uint16", 17: "int4", 18: "bfloat16",
}  # fmt: skip
_STORED = ("float32", "float16", "int32", "int64", "int8", "uint8", "bool")
# Operators by code, of those that have rules or occur in exported graphs; another goes by its number.
OPS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 5: "DEPTH_TO_SPACE",
    6: "DEQUANTIZE", 8: "FLOOR", 9: "FULLY_CONNECTED", 14: "LOGISTIC", 17: "MAX_POOL_2D", 18: "MUL", 19: "RELU",
    20: "RELU_N1_TO_1", 21: "RELU6", 22: "RESHAPE", 23: "RESIZE_BILINEAR", 25: "SOFTMAX", 26: "SPACE_TO_DEPTH",
    28: "TANH", 34: "PAD", 36: "GATHER", 39: "TRANSPOSE", 40: "MEAN", 41: "SUB", 42: "DIV", 43: "SQUEEZE",
    45: "STRIDED_SLICE", 47: "EXP", 49: "SPLIT", 53: "CAST", 54: "PRELU", 55: "MAXIMUM", 57: "MINIMUM", 58: "LESS",
    59: "NEG", 60: "PADV2", 61: "GREATER", 62: "GREATER_EQUAL", 63: "LESS_EQUAL", 64: "SELECT", 65: "SLICE", 66: "SIN",
    67: "TRANSPOSE_CONV", 69: "TILE", 70: "EXPAND_DIMS", 71: "EQUAL", 72: "NOT_EQUAL", 73: "LOG", 74: "SUM",
    75: "SQRT", 76: "RSQRT", 77: "SHAPE", 78: "POW", 81: "REDUCE_PROD", 82: "REDUCE_MAX", 83: "PACK", 84: "LOGICAL_OR",
    85: "ONE_HOT", 86: "LOGICAL_AND", 87: "LOGICAL_NOT", 88: "UNPACK", 89: "REDUCE_MIN", 90: "FLOOR_DIV", 92: "SQUARE",
    94: "FILL", 95: "FLOOR_MOD", 96: "RANGE", 97: "RESIZE_NEAREST_NEIGHBOR", 98: "LEAKY_RELU",
    99: "SQUARED_DIFFERENCE", 100: "MIRROR_PAD", 101: "ABS", 102: "SPLIT_V", 104: "CEIL", 105: "REVERSE_V2",
    106: "ADD_N", 107: "GATHER_ND", 108: "COS", 109: "WHERE", 111: "ELU", 114: "QUANTIZE", 116: "ROUND",
    117: "HARD_SWISH", 122: "SCATTER_ND", 123: "SELECT_V2", 124: "DENSIFY", 126: "BATCH_MATMUL", 128: "CUMSUM",
    130: "BROADCAST_TO", 150: "GELU", 152: "RELU_0_TO_1", 158: "SIGN",
}  # fmt: skip
# Options of operators: name -> slot, form as in `struct`, and what the schema takes for granted.
_OPTION_SLOTS: dict[str, dict[str, tuple[int, str, int]]] = {
    "CONV_2D": {"padding": (4, "b", 0), "stride_w": (6, "i", 0), "stride_h": (8, "i", 0), "activation": (10, "b", 0),
                "dilation_w": (12, "i", 1), "dilation_h": (14, "i", 1)},
    "DEPTHWISE_CONV_2D": {"padding": (4, "b", 0), "stride_w": (6, "i", 0), "stride_h": (8, "i", 0),
                          "activation": (12, "b", 0), "dilation_w": (14, "i", 1), "dilation_h": (16, "i", 1)},
    "MAX_POOL_2D": {"padding": (4, "b", 0), "stride_w": (6, "i", 0), "stride_h": (8, "i", 0), "filter_w": (10, "i", 0),
                    "filter_h": (12, "i", 0), "activation": (14, "b", 0)},
    "CONCATENATION": {"axis": (4, "i", 0), "activation": (6, "b", 0)},
    "MEAN": {"keep_dims": (4, "b", 0)},
    "BATCH_MATMUL": {"adj_x": (4, "b", 0), "adj_y": (6, "b", 0)},
    "RESIZE_BILINEAR": {"align_corners": (8, "b", 0), "half_pixel_centers": (10, "b", 0)},
} | {op: {"activation": (4, "b", 0)} for op in ("FULLY_CONNECTED", "ADD", "SUB", "MUL", "DIV")}  # fmt: skip


def read_tflite(data: bytes, stage: str, signature: str | None) -> StageGraph:
    """Read one graph of a file.

    Args:
        data: the file.
        stage: name of the stage, for messages.
        signature: of the graph, in a file of several; None takes the first.

    Raises:
        LintError: it is no TFLite model, or has no such signature.
    """
    try:
        model = root(data)
        return _Reader(model, stage).read(_signature(model, signature))
    except (ValueError, IndexError) as e:
        raise LintError(f"{stage}: the file is not a TFLite model: {e}. Export the bundle again.") from e


def _signature(model: Table, wanted: str | None) -> Table | None:
    found = list(model.tables(_SIGNATURES))
    if wanted is None:
        return found[0] if found else None
    chosen = next((s for s in found if s.text(_SIGNED_KEY) == wanted), None)
    if chosen is None:
        raise ValueError(f"it has no signature {wanted!r}")
    return chosen


class _Reader:
    def __init__(self, model: Table, stage: str) -> None:
        self._stage = stage
        self._graphs = list(model.tables(_SUBGRAPHS))
        self._buffers = list(model.tables(_BUFFERS))
        codes = [max(c.number(4, "b"), c.number(10, "i")) for c in model.tables(_CODES)]
        self._ops = [OPS.get(code, f"operator {code}") for code in codes]

    def read(self, signature: Table | None) -> StageGraph:
        graph = self._graphs[signature.number(_SIGNED_GRAPH, "I") if signature else 0]
        tables = list(graph.tables(_TENSORS))
        names = _unique([t.text(_NAME) or f"tensor {i}" for i, t in enumerate(tables)])
        for slot in (_SIGNED_IN, _SIGNED_OUT) if signature else ():
            for entry in signature.tables(slot) if signature else ():
                names[entry.number(_MAP_INDEX, "I")] = entry.text(_MAP_NAME)
        tensors = {name: self._tensor(name, table) for name, table in zip(names, tables, strict=True)}

        def named(numbers: tuple[int, ...]) -> tuple[str, ...]:
            return tuple(names[i] if i >= 0 else "" for i in numbers)

        nodes = []
        for table in graph.tables(_OPERATORS):
            op = self._ops[table.number(_CODE, "I")]
            ends = named(table.numbers(_NODE_IN, "i")), named(table.numbers(_NODE_OUT, "i"))
            nodes.append(GraphNode(op, *ends, _options(op, table.table(_OPTIONS))))
        ends = named(graph.numbers(_INPUTS, "i")), named(graph.numbers(_OUTPUTS, "i"))
        return StageGraph(self._stage, "tflite", *ends, tuple(nodes), tensors)

    def _tensor(self, name: str, table: Table) -> GraphTensor:
        dtype, shape = _DTYPES.get(table.number(_TYPE, "b"), "unknown"), table.numbers(_SHAPE, "i")
        content = self._buffers[table.number(_BUFFER, "I")].content(4)
        values = _values(content, dtype, shape, table.table(_QUANTISATION)) if content else None
        return GraphTensor(name, shape, dtype, bool(content), values)


def _values(content: bytes, dtype: str, shape: tuple[int, ...], scales: Table | None) -> NDArray[Any] | None:
    if dtype not in _STORED or len(content) != math.prod(shape) * np.dtype(dtype).itemsize:
        return None
    values = np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    if dtype != "int8" or scales is None or not scales.length(_SCALE):
        return values
    scale = np.frombuffer(scales.content(_SCALE, 4), "<f4")
    if scale.size == 1:
        zero = scales.numbers(_ZERO, "q")
        return (values.astype(np.float32) - (zero[0] if zero else 0)) * scale
    axis = scales.number(_AXIS, "i")
    return values * scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _options(op: str, table: Table | None) -> dict[str, Any]:
    slots = _OPTION_SLOTS.get(op, {})
    return {k: table.number(slot, form, usual) if table else usual for k, (slot, form, usual) in slots.items()}


def _unique(names: list[str]) -> list[str]:
    seen: set[str] = set()
    for i, name in enumerate(names):
        names[i] = name if name not in seen else f"{name}#{i}"
        seen.add(names[i])
    return names
