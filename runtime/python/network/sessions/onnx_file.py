"""Look through an ONNX file before the engine does: no other files, no loops, nothing beyond the budget.

A graph can name a file for each tensor. ONNX Runtime (1.32) resolves it against the working directory when it loads
from bytes, and follows "..": a crafted bundle could read any file of the user into its outputs. All of a bundle's
weights are inside its graphs, so any such tensor is refused before the engine sees it.

Field numbers are onnx.proto's. The runtime has no need of the package `onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator

from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions.budget import Budget
from qlot.runtime.network.sessions.protobuf import MESSAGE, NUMBER, Field, fields, numbers, walk

# Message -> field number -> message inside. Only what can hold an operator, a tensor or a shape.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
    "tensor": {},
    "value": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {2: "shape"},
    "shape": {},
}
_REFUSED: dict[tuple[str, int], str] = {
    ("model", 20): "a part for training",
    ("model", 25): "functions of its own",
    ("graph", 15): "sparse weights",
    ("attribute", 6): "an operator that holds a graph (If, Loop, Scan)",
    ("attribute", 11): "an operator that holds graphs (If, Loop, Scan)",
    ("attribute", 22): "sparse weights",
    ("attribute", 23): "sparse weights",
    ("type", 4): "a sequence",
    ("type", 5): "a map",
    ("type", 8): "a sparse tensor",
    ("type", 9): "an optional tensor",
}
_TENSOR_DIMS, _TENSOR_LOCATION = 1, 14  # location 0: inside
_SHAPE_DIM, _DIM_SIZE = 1, 1


def check_onnx(data: bytes, name: str) -> None:
    """Look through an ONNX model's bytes.

    Raises:
        SessionError: a tensor lives in another file, the model has what no exported one has or too much of it, or it is
            no ONNX model.
    """
    budget = Budget(name)
    try:
        for message, field in walk(data, _MESSAGES, "model"):
            if (message, field.number) in _REFUSED:
                raise budget.refuse(_REFUSED[message, field.number])
            if message == "tensor" and field.number == _TENSOR_LOCATION and field.value:
                raise SessionError(
                    f"{name}: the graph keeps tensors in other files; a bundle's graphs must be self-contained."
                )
            if field.wire == MESSAGE:
                _count(data, _MESSAGES[message].get(field.number), field, budget)
    except ValueError as e:
        raise SessionError(f"{name}: the file is not an ONNX model: {e}. Export the bundle again.") from e


def _count(data: bytes, message: str | None, field: Field, budget: Budget) -> None:
    if message == "node":
        budget.operators(1)
    elif message == "value":
        budget.tensors(1)
    elif message == "tensor":
        budget.tensors(1)
        dims = (f for f in fields(data, field.start, field.end) if f.number == _TENSOR_DIMS)
        budget.shape(size for f in dims for size in numbers(data, f))
    elif message == "shape":
        dims = (f for f in fields(data, field.start, field.end) if f.number == _SHAPE_DIM and f.wire == MESSAGE)
        budget.shape(max(_sizes(data, f), default=1) for f in dims)


def _sizes(data: bytes, dimension: Field) -> Iterator[int]:
    for field in fields(data, dimension.start, dimension.end):
        if field.number == _DIM_SIZE and field.wire == NUMBER:
            yield field.value
