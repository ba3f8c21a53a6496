"""A few items of a stream of any length, evenly spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Thinned(Generic[T]):
    """Keeps all of the first `2 * least` items; of more every second, fourth, ..., so that `least` or more are left."""

    def __init__(self, least: int) -> None:
        self.items: list[T] = []
        self._least = least
        self._seen = 0
        self._stride = 1

    def add(self, make: Callable[[], T]) -> None:
        """Take note of the next item; `make` is called only if it is kept."""
        if self._seen % self._stride == 0 and len(self.items) == 2 * self._least:
            del self.items[1::2]
            self._stride *= 2
        if self._seen % self._stride == 0:
            self.items.append(make())
        self._seen += 1
