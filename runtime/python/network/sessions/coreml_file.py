"""Look through a Core ML package before an engine does: no loops, nothing beyond the budget.

Field numbers are those of coremltools' Model.proto and MIL.proto; coremltools itself is not needed here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from qlot.runtime.bundle.limits import MAX_JSON_BYTES
from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions.budget import Budget
from qlot.runtime.network.sessions.protobuf import MESSAGE, NUMBER, Field, fields, walk

LISTING = "Manifest.json"

# Message -> field number -> message inside. Only what can hold an operation or a shape. An entry is a map's.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {502: "program"},
    "program": {2: "function entry"},
    "function entry": {2: "function"},
    "function": {1: "named", 3: "block entry"},
    "block entry": {2: "block"},
    "block": {1: "named", 3: "operation"},
    "operation": {2: "argument entry", 3: "named", 5: "value entry"},
    "argument entry": {2: "argument"},
    "argument": {1: "binding"},
    "binding": {2: "value"},
    "value entry": {2: "value"},
    "value": {2: "type"},
    "named": {2: "type"},
    "type": {1: "tensor", 5: "state"},
    "state": {1: "type"},
    "tensor": {},
}
_REFUSED: dict[tuple[str, int], str] = {
    ("model", 200): "a pipeline", ("model", 201): "a pipeline", ("model", 202): "a pipeline",
    ("model", 500): "a neural network of the old kind", ("model", 555): "custom code",
    ("operation", 4): "an operation that holds others (cond, while_loop)",
}  # fmt: skip
_TENSOR_DIM, _DIM_CONSTANT, _CONSTANT_SIZE = 3, 1, 1


def check_package(files: Mapping[str, bytes], name: str) -> None:
    """Look through a package's files, by path inside it.

    Raises:
        SessionError: the program has what no exported one has or too much of it, or the package has no such program.
    """
    budget = Budget(name)
    try:
        data = files[_root(files)]
        for message, field in walk(data, _MESSAGES, "model"):
            if (message, field.number) in _REFUSED:
                raise budget.refuse(_REFUSED[message, field.number])
            inside = _MESSAGES[message].get(field.number) if field.wire == MESSAGE else None
            budget.operators(inside == "operation")
            budget.tensors(inside == "named")
            if inside == "tensor":
                dims = (f for f in fields(data, field.start, field.end) if f.number == _TENSOR_DIM)
                budget.shape(max(_sizes(data, f), default=1) for f in dims)
    except (ValueError, LookupError, TypeError, RecursionError) as e:
        raise SessionError(f"{name}: the package has no Core ML program: {e}. Export the bundle again.") from e


def _root(files: Mapping[str, bytes]) -> str:
    text = files[LISTING]
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"{LISTING} is no such list")
    listing = json.loads(text)
    return f"Data/{listing['itemInfoEntries'][listing['rootModelIdentifier']]['path']}"


def _sizes(data: bytes, dimension: Field) -> Iterator[int]:
    for constant in fields(data, dimension.start, dimension.end):
        if constant.number == _DIM_CONSTANT and constant.wire == MESSAGE:
            inside = fields(data, constant.start, constant.end)
            yield from (f.value for f in inside if f.number == _CONSTANT_SIZE and f.wire == NUMBER)
