"""Names, dtypes and shapes of what goes in and out of a program and its operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qlot.mil._coremltools import types
from qlot.mil.errors import FeedError

# MIL's names of tensor elements. Sub-byte integers exist only inside constants, which are decoded before they get here.
DTYPES: dict[str, torch.dtype] = {
    "fp16": torch.float16,
    "fp32": torch.float32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.uint16,
    "int32": torch.int32,
    "uint32": torch.uint32,
    "int64": torch.int64,
    "bool": torch.bool,
}


@dataclass(frozen=True)
class Port:
    """One tensor of a program: an input, an output, a state, or the result of an operation."""

    name: str
    dtype: str  # numpy's name, such as "float32"
    shape: tuple[int | None, ...]  # None: any size

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape can be this one."""
        return len(shape) == len(self.shape) and all(
            w is None or w == s for w, s in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.dtype} ({', '.join('any' if s is None else str(s) for s in self.shape)})"


def torch_dtype(var: Any) -> torch.dtype | None:
    """Element type of a variable of a program; None if it is not made of numbers."""
    return DTYPES.get(types.builtin_to_string(var.dtype))


def port_of(var: Any, tensor_type: Any = None) -> Port:
    """Describe a variable of a program; `tensor_type` is what a state wraps."""
    element = tensor_type.get_primitive() if tensor_type is not None else var.dtype
    shape = tensor_type.get_shape() if tensor_type is not None else var.shape
    dtype = DTYPES.get(types.builtin_to_string(element))
    name = str(dtype).removeprefix("torch.") if dtype else types.builtin_to_string(element)
    return Port(var.name, name, tuple(int(s) if isinstance(s, (int, np.integer)) else None for s in shape))


def check_feeds(what: str, feeds: Mapping[str, NDArray[Any]], ports: Sequence[Port]) -> None:
    """Compare tensors handed in with the ports they are for.

    Args:
        what: what they are, for messages.
        feeds: name -> array.
        ports: exactly the names wanted.

    Raises:
        FeedError: names, dtypes or shapes differ.
    """
    wanted = {p.name: p for p in ports}
    if feeds.keys() != wanted.keys():
        missing, unknown = sorted(wanted.keys() - feeds.keys()), sorted(feeds.keys() - wanted.keys())
        raise FeedError(f"{what}: missing {missing}, unknown {unknown}; the program takes {sorted(wanted)}.")
    for name, port in wanted.items():
        array = feeds[name]
        if not isinstance(array, np.ndarray):
            raise FeedError(f"{what} {name!r} is a {type(array).__name__}; pass a numpy array, {port}.")
        if array.dtype != np.dtype(port.dtype) or not port.fits(array.shape):
            raise FeedError(f"{what} {name!r} is {array.dtype} {array.shape}; the program takes {port}.")
