"""Read flatbuffers of strangers: every place is checked against the file before it is read.

Just what the budget of TFLite and ORT files needs (flatbuffers.dev, internals): tables, vectors, numbers, texts. Slots
are those of the schemas, 4 + 2 * the field's number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_NUMBERS = 100  # of a vector that is read at once


@dataclass(frozen=True)
class Table:
    """A table at `at` in `data`. A slot that the table lacks reads as None, nothing, or the default given.

    Raises:
        ValueError: a place lies outside the file.
    """

    data: bytes
    at: int

    def number(self, slot: int, form: str, default: int = 0) -> int:
        """Return a number, `form` as in `struct`."""
        at = self._field(slot)
        return default if at is None else _read(self.data, at, form)

    def table(self, slot: int) -> Table | None:
        """Return a table inside."""
        at = self._field(slot)
        return None if at is None else Table(self.data, at + _read(self.data, at, "I"))

    def text(self, slot: int) -> str:
        """Return a text."""
        at, count = self._vector(slot, 1)
        return self.data[at : at + count].decode("utf-8", "replace")

    def content(self, slot: int, size: int = 1) -> bytes:
        """Return a vector's bytes, of entries of `size` bytes each."""
        at, count = self._vector(slot, size)
        return self.data[at : at + count * size]

    def length(self, slot: int, size: int = 4) -> int:
        """Return how many entries of `size` bytes a vector has; that many are in the file."""
        return self._vector(slot, size)[1]

    def numbers(self, slot: int, form: str) -> tuple[int, ...]:
        """Return a vector of numbers, of a long one the beginning."""
        at, count = self._vector(slot, struct.calcsize(f"<{form}"))
        count = min(count, MAX_NUMBERS)
        return struct.unpack_from(f"<{count}{form}", self.data, at)

    def tables(self, slot: int) -> Iterator[Table]:
        """Yield a vector of tables."""
        at, count = self._vector(slot, 4)
        for place in range(at, at + 4 * count, 4):
            yield Table(self.data, place + _read(self.data, place, "I"))

    def _field(self, slot: int) -> int | None:
        fields = self.at - _read(self.data, self.at, "i")
        if slot >= _read(self.data, fields, "H"):
            return None
        offset = _read(self.data, fields + slot, "H")
        return self.at + offset if offset else None

    def _vector(self, slot: int, size: int) -> tuple[int, int]:
        at = self._field(slot)
        if at is None:
            return 0, 0
        at += _read(self.data, at, "I")
        count = _read(self.data, at, "I")
        if at + 4 + count * size > len(self.data):
            raise ValueError("a vector ends beyond the file")
        return at + 4, count


def root(data: bytes) -> Table:
    """Return the table that a file begins with."""
    return Table(data, _read(data, 0, "I"))


def _read(data: bytes, at: int, form: str) -> int:
    if not 0 <= at <= len(data) - struct.calcsize(f"<{form}"):
        raise ValueError("a place lies outside the file")
    value: int = struct.unpack_from(f"<{form}", data, at)[0]
    return value
