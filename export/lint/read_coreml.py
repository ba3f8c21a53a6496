"""Read a Core ML package by the runtime's own protobuf reader; field numbers are those of Model.proto and MIL.proto.

coremltools would read it too, but takes seconds to import and has an engine inside; so a package is read here, as it is
before an engine sees it (`qlot.runtime.network.sessions.coreml_file`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from qlot.export.lint.graph import GraphNode, GraphTensor, LintError, StageGraph
from qlot.runtime.network.sessions.coreml_file import LISTING
from qlot.runtime.network.sessions.protobuf import MESSAGE, Field, fields

_SPECIFICATION, _PROGRAM, _FUNCTION = 1, 502, 2
_DTYPES = {
    1: "bool", 2: "string", 10: "float16", 11: "float32", 12: "float64", 13: "bfloat16", 21: "int8", 22: "int16",
    23: "int32", 24: "int64", 25: "int4", 31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4",
}  # fmt: skip
_STORED = ("const", "constexpr_")  # operations whose outputs are values of the file


def read_coreml(files: Mapping[str, bytes], stage: str, function: str | None) -> StageGraph:
    """Read one function of a package.

    Args:
        files: the package's, by path inside.
        stage: name of the stage, for messages.
        function: of the program, in a package of several; None takes the only one.

    Raises:
        LintError: the package has no such program.
    """
    try:
        listing = json.loads(files[LISTING])
        data = files[f"Data/{listing['itemInfoEntries'][listing['rootModelIdentifier']]['path']}"]
        return _read(data, stage, function)
    except (ValueError, LookupError, TypeError) as e:
        raise LintError(f"{stage}: the package has no Core ML program: {e}. Export the bundle again.") from e


def _read(data: bytes, stage: str, wanted: str | None) -> StageGraph:
    versions, found = {}, {}
    for field in fields(data, 0, len(data)):
        if field.number == _SPECIFICATION:
            versions["specification"] = field.value
        elif field.number == _PROGRAM:
            for part in _messages(data, field, _FUNCTION):
                name, body = _entry(data, part)
                found[name] = body
    if not found or (wanted is not None and wanted not in found):
        raise ValueError(f"no function {wanted or 'at all'}")
    function = found[wanted] if wanted is not None else next(iter(found.values()))
    if function is None:
        raise ValueError("a function without a body")
    tensors = {t.name: t for part in _messages(data, function, 1) for t in (_named(data, part),)}
    inputs = tuple(tensors)
    block = next(body for part in _messages(data, function, 3) for _, body in (_entry(data, part),) if body)
    nodes, outputs = [], []
    for part in fields(data, block.start, block.end):
        if part.number == 2:
            outputs.append(_text(data, part))
        elif part.number == 3:
            node, made = _operation(data, part)
            tensors.update({t.name: t for t in made})
            if not node.op.startswith(_STORED):
                nodes.append(node)
    return StageGraph(stage, "coreml", inputs, tuple(outputs), tuple(nodes), tensors, versions)


def _messages(data: bytes, field: Field, number: int) -> Iterator[Field]:
    return (f for f in fields(data, field.start, field.end) if f.number == number and f.wire == MESSAGE)


def _text(data: bytes, field: Field) -> str:
    return data[field.start : field.end].decode("utf-8", "replace")


def _entry(data: bytes, field: Field) -> tuple[str, Field | None]:
    """Return key and value of a map's entry."""
    parts = {part.number: part for part in fields(data, field.start, field.end)}
    return (_text(data, parts[1]) if 1 in parts else ""), parts.get(2)


def _named(data: bytes, field: Field, constant: bool = False) -> GraphTensor:
    name, shape, dtype = "", None, "unknown"
    for part in fields(data, field.start, field.end):
        if part.number == 1:
            name = _text(data, part)
        elif part.number == 2:
            for tensor in _messages(data, part, 1):
                shape, dtype = _type(data, tensor)
    return GraphTensor(name, shape, dtype, constant)


def _type(data: bytes, tensor: Field) -> tuple[tuple[int, ...] | None, str]:
    dtype, sizes = "unknown", []
    for part in fields(data, tensor.start, tensor.end):
        if part.number == 1:
            dtype = _DTYPES.get(part.value, "unknown")
        elif part.number == 3:
            known = [p.value for c in _messages(data, part, 1) for p in fields(data, c.start, c.end) if p.number == 1]
            sizes.append(known[0] if known else None)
    return (None if None in sizes else tuple(s for s in sizes if s is not None)), dtype


def _operation(data: bytes, field: Field) -> tuple[GraphNode, list[GraphTensor]]:
    op = next((_text(data, p) for p in fields(data, field.start, field.end) if p.number == 1), "")
    attributes: dict[str, Any] = {}
    inputs: list[str] = []
    stored = op.startswith(_STORED)
    for part in _messages(data, field, 2):
        key, argument = _entry(data, part)
        names = [] if argument is None else _bindings(data, argument)
        attributes[key] = names[0] if len(names) == 1 else tuple(names)
        inputs += names
    made = [_named(data, part, stored) for part in _messages(data, field, 3)]
    return GraphNode(op, tuple(inputs), tuple(t.name for t in made), attributes), made


def _bindings(data: bytes, argument: Field) -> list[str]:
    bound = _messages(data, argument, 1)
    return [_text(data, p) for b in bound for p in fields(data, b.start, b.end) if p.number == 1]
