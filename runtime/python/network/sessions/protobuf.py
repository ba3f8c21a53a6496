"""Read protobuf messages of strangers without their classes: just the wire format.

See protobuf.dev/programming-guides/encoding. Nothing is copied; a field is where it lies in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAX_FIELDS = 500_000  # visited one by one: a second or two; 12 unrolled steps in Core ML have 150,000
NUMBER, MESSAGE = 0, 2  # wire types: a number; a message, a text, or a packed list of numbers


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its number and wire type, where its contents lie, and the value of a number."""

    number: int
    wire: int
    start: int
    end: int
    value: int


def walk(data: bytes, messages: Mapping[str, Mapping[int, str]], first: str) -> Iterator[tuple[str, Field]]:
    """Yield each field of a file with the message that it is in, descending into those that are named.

    Args:
        data: the file.
        messages: message -> number of a field -> the message it holds.
        first: the message that the file is.

    Raises:
        ValueError: the file is no protobuf message, or has too many fields.
    """
    todo, count = [(first, 0, len(data))], 0
    while todo:
        message, at, end = todo.pop()
        for field in fields(data, at, end):
            count += 1
            if count > MAX_FIELDS:
                raise ValueError(f"it has more than {MAX_FIELDS:,} fields")
            yield message, field
            inside = messages[message].get(field.number)
            if inside is not None and field.wire == MESSAGE:
                todo.append((inside, field.start, field.end))


def fields(data: bytes, at: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message from `at` to `end`."""
    while at < end:
        key, at = _varint(data, at)
        if key >> 32:
            raise ValueError("a field number is too large")  # some parsers drop the upper bits and read on
        wire, start, value = key & 7, at, 0
        if wire == NUMBER:
            value, at = _varint(data, at)
        elif wire == MESSAGE:
            size, start = _varint(data, at)
            at = start + size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError("it has groups, which are out of use")
        if at > end:
            raise ValueError("a field is longer than its message")
        yield Field(key >> 3, wire, start, at, _signed(value))


def numbers(data: bytes, field: Field) -> Iterator[int]:
    """Yield the numbers of one field of a list: one, or packed several."""
    if field.wire == NUMBER:
        yield field.value
    at = field.start
    while field.wire == MESSAGE and at < field.end:
        value, at = _varint(data, at)
        yield _signed(value)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is longer than 64 bits")
