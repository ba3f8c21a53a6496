"""Read an ONNX file by the runtime's own protobuf reader; field numbers are onnx.proto's. `onnx` is not needed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from qlot.export.lint.graph import GraphNode, GraphTensor, LintError, StageGraph
from qlot.runtime.network.sessions.protobuf import MESSAGE, Field, fields, numbers

_MODEL_IR, _MODEL_GRAPH, _MODEL_OPSET = 1, 7, 8
_NODE, _CONSTANT, _INPUT, _OUTPUT, _INNER = 1, 5, 11, 12, 13
_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16", 21: "uint4", 22: "int4",
}  # fmt: skip


def read_onnx(data: bytes, stage: str) -> StageGraph:
    """Read a model's bytes.

    Raises:
        LintError: it is no ONNX model.
    """
    try:
        return _read(data, stage)
    except ValueError as e:
        raise LintError(f"{stage}: the file is not an ONNX model: {e}. Export the bundle again.") from e


def _read(data: bytes, stage: str) -> StageGraph:
    versions: dict[str, int] = {}
    graph: Field | None = None
    for field in fields(data, 0, len(data)):
        if field.number == _MODEL_IR:
            versions["ir"] = field.value
        elif field.number == _MODEL_GRAPH:
            graph = field
        elif field.number == _MODEL_OPSET:
            domain, version = "", 0
            for part in fields(data, field.start, field.end):
                domain = _text(data, part) if part.number == 1 else domain
                version = part.value if part.number == 2 else version
            if domain in ("", "ai.onnx"):
                versions["opset"] = version
    if graph is None:
        raise ValueError("it has no graph")
    nodes: list[GraphNode] = []
    tensors: dict[str, GraphTensor] = {}
    ends: dict[int, list[str]] = {_INPUT: [], _OUTPUT: []}
    for field in fields(data, graph.start, graph.end):
        if field.number == _NODE:
            nodes.append(_node(data, field))
        elif field.number == _CONSTANT:
            tensor = _constant(data, field)
            tensors[tensor.name] = tensor
        elif field.number in (_INPUT, _OUTPUT, _INNER):
            tensor = _value(data, field)
            tensors.setdefault(tensor.name, tensor)
            ends.get(field.number, []).append(tensor.name)
    inputs = tuple(name for name in ends[_INPUT] if not tensors[name].constant)
    return StageGraph(stage, "onnx", inputs, tuple(ends[_OUTPUT]), tuple(nodes), tensors, versions)


def _text(data: bytes, field: Field) -> str:
    return data[field.start : field.end].decode("utf-8", "replace")


def _node(data: bytes, field: Field) -> GraphNode:
    inputs, outputs, op, domain = [], [], "", ""
    attributes: dict[str, Any] = {}
    for part in fields(data, field.start, field.end):
        if part.number == 1:
            inputs.append(_text(data, part))
        elif part.number == 2:
            outputs.append(_text(data, part))
        elif part.number == 4:
            op = _text(data, part)
        elif part.number == 5:
            name, value = _attribute(data, part)
            attributes[name] = value
        elif part.number == 7:
            domain = _text(data, part)
    own = domain in ("", "ai.onnx")
    return GraphNode(op if own else f"{domain}:{op}", tuple(inputs), tuple(outputs), attributes)


def _attribute(data: bytes, field: Field) -> tuple[str, Any]:
    """Return name and value; a tensor's is None, which no rule reads."""
    name, value, several = "", None, []
    for part in fields(data, field.start, field.end):
        if part.number == 1:
            name = _text(data, part)
        elif part.number == 2:
            (value,) = struct.unpack_from("<f", data, part.start)
        elif part.number == 3:
            value = part.value
        elif part.number == 4:
            value = _text(data, part)
        elif part.number == 8:
            several += list(numbers(data, part))
    return name, tuple(several) if several else value


def _constant(data: bytes, field: Field) -> GraphTensor:
    name, kind, shape = "", 0, []
    for part in fields(data, field.start, field.end):
        if part.number == 1:
            shape += list(numbers(data, part))
        elif part.number == 2:
            kind = part.value
        elif part.number == 8:
            name = _text(data, part)
    return GraphTensor(name, tuple(shape), _DTYPES.get(kind, "unknown"), constant=True)


def _value(data: bytes, field: Field) -> GraphTensor:
    name, dtype, shape = "", "unknown", None
    for part in fields(data, field.start, field.end):
        if part.number == 1:
            name = _text(data, part)
        for tensor in _inside(data, part, 2, 1):  # type, tensor_type
            for entry in fields(data, tensor.start, tensor.end):
                if entry.number == 1:
                    dtype = _DTYPES.get(entry.value, "unknown")
                elif entry.number == 2:
                    shape = _sizes(data, entry)
    return GraphTensor(name, shape, dtype)


def _inside(data: bytes, field: Field, *path: int) -> Iterator[Field]:
    """Yield the messages that lie along a path of field numbers, `field` being the first."""
    if field.number != path[0] or field.wire != MESSAGE:
        return
    if len(path) == 1:
        yield field
        return
    for part in fields(data, field.start, field.end):
        yield from _inside(data, part, *path[1:])


def _sizes(data: bytes, shape: Field) -> tuple[int, ...] | None:
    """Return a shape; None where a size is left open."""
    found = []
    for dim in fields(data, shape.start, shape.end):
        size = next((p.value for p in fields(data, dim.start, dim.end) if p.number == 1), None)
        if size is None:
            return None
        found.append(size)
    return tuple(found)
