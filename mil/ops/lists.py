"""Lists of tensors, in which loops collect their results. A list is never changed: a write returns another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qlot.mil.ports import DTYPES
from qlot.mil.registry import moves


@dataclass(frozen=True)
class TensorList:
    """Tensors of one shape; None where none was written yet."""

    items: tuple[Tensor | None, ...]
    grows: bool
    blank: Tensor | None  # what is read where none was written; None: its shape is not known

    def written(self, index: int, value: Tensor) -> TensorList:
        """Return the list with one item replaced; one beyond the end makes it longer, if it may grow."""
        items = list(self.items)
        if index >= len(items) and self.grows:
            items += [None] * (index + 1 - len(items))
        if not 0 <= index < len(items):
            raise IndexError(f"index {index} of a list of {len(items)}")
        items[index] = value
        return replace(self, items=tuple(items))

    def read(self, index: int) -> Tensor:
        """Return one item."""
        if not 0 <= index < len(self.items):
            raise IndexError(f"index {index} of a list of {len(self.items)}")
        item = self.items[index] if self.items[index] is not None else self.blank
        if item is None:
            raise IndexError(f"item {index} of a list is read, which was never written and has no shape")
        return item


@moves("make_list")
def _make_list(
    *, init_length: int = 1, dynamic_length: bool = True, elem_shape: Sequence[int | str] = (), dtype: str = "fp32"
) -> TensorList:
    """Items are zeros until they are written; sizes that are names are not known before."""
    known = all(isinstance(n, int) for n in elem_shape)
    blank = torch.zeros([int(n) for n in elem_shape], dtype=DTYPES[dtype]) if known else None
    return TensorList((None,) * init_length, dynamic_length, blank)


@moves("list_length")
def _list_length(ls: TensorList) -> Tensor:
    return torch.tensor(len(ls.items))


@moves("list_read")
def _list_read(ls: TensorList, *, index: int) -> Tensor:
    return ls.read(index)


@moves("list_write")
def _list_write(ls: TensorList, value: Tensor, *, index: int) -> TensorList:
    return ls.written(index, value)


@moves("list_gather")
def _list_gather(ls: TensorList, *, indices: Sequence[int]) -> Tensor:
    return torch.stack([ls.read(i) for i in indices])


@moves("list_scatter")
def _list_scatter(ls: TensorList, value: Tensor, *, indices: Sequence[int]) -> TensorList:
    for index, item in zip(indices, value, strict=True):
        ls = ls.written(index, item)
    return ls
