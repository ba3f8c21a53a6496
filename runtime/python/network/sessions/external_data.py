"""Refuse ONNX graphs that keep weights in other files.

A graph can name a file for each tensor. ONNX Runtime (1.32) resolves it against the working directory when it loads
from bytes, and follows "..": a crafted bundle could read any file of the user into its outputs. All of a bundle's
weights are inside its graphs, so any such tensor is refused before the engine sees it. This reads just enough of the
protobuf wire format (protobuf.dev/programming-guides/encoding) to reach every tensor; field numbers are onnx.proto's.
"""

from __future__ import annotations

from qlot.runtime.errors import SessionError

# Message -> field number -> message inside. Only what can hold a tensor.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_DATA_LOCATION = 14  # field of a tensor; 0: inside


def refuse_external_data(data: bytes, name: str) -> None:
    """Raise SessionError if a tensor of the ONNX model `data` lives in another file, or if it is no ONNX model."""
    try:
        external = _has_external_data(data)
    except (IndexError, ValueError) as e:
        raise SessionError(f"{name}: the file is not an ONNX model. Export the bundle again.") from e
    if external:
        raise SessionError(f"{name}: the graph keeps tensors in other files; a bundle's graphs must be self-contained.")


def _has_external_data(data: bytes) -> bool:
    todo = [("model", 0, len(data))]
    while todo:
        message, at, end = todo.pop()
        while at < end:
            key, at = _varint(data, at)
            if key >> 32:
                raise ValueError("a field number is too large")  # some parsers drop the upper bits and read on
            field, wire = key >> 3, key & 7
            start = at
            if wire == 0:
                value, at = _varint(data, at)
                if message == "tensor" and field == _DATA_LOCATION and value:
                    return True
            elif wire == 2:
                size, start = _varint(data, at)
                at = start + size
                if field in _MESSAGES[message]:
                    todo.append((_MESSAGES[message][field], start, at))
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                raise ValueError("ONNX uses no groups")
            if at > end:
                raise ValueError("a field is longer than its message")
    return False


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is longer than 64 bits")
