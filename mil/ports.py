"""Names, dtypes and shapes of what goes in and out of a program and its operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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


# What they are held as between operations, where that differs: PyTorch has few kernels for the wide unsigned integers.
HELD: dict[torch.dtype, torch.dtype] = {torch.uint16: torch.int32, torch.uint32: torch.int64}

LIST = "a list of tensors"
Shape = tuple[int, ...]
Range = tuple[int, int | None]  # lowest and highest size of an axis; None: no highest


@dataclass(frozen=True)
class Port:
    """One tensor of a program: an input, an output, a state, or the result of an operation."""

    name: str
    dtype: str  # numpy's name, such as "float32"; `LIST` inside programs only
    shape: tuple[int | None, ...]  # None: any size that `ranges` or `shapes` allow
    ranges: tuple[Range, ...] = ()  # of the sizes, an axis each, where the model states them
    shapes: tuple[Shape, ...] = ()  # the only ones, where the model lists them

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape can be this one."""
        if self.dtype == LIST:
            return True
        return (
            len(shape) == len(self.shape)
            and all(w is None or w == s for w, s in zip(self.shape, shape, strict=True))
            and all(
                low <= s and (high is None or s <= high) for s, (low, high) in zip(shape, self.ranges, strict=False)
            )
            and (not self.shapes or tuple(shape) in self.shapes)
        )

    def __str__(self) -> str:
        if self.dtype == LIST:
            return LIST
        if self.shapes:
            return f"{self.dtype} {' or '.join(map(str, self.shapes))}"
        sizes = [str(s) if s is not None else self._size(axis) for axis, s in enumerate(self.shape)]
        return f"{self.dtype} ({', '.join(sizes)})"

    def _size(self, axis: int) -> str:
        if not self.ranges:
            return "any"
        low, high = self.ranges[axis]
        return f"at least {low}" if high is None else f"{low} to {high}"


def torch_dtype(var: Any) -> torch.dtype | None:
    """Element type of a variable of a program; None if it is not made of numbers."""
    if types.is_list(var.sym_type):
        return None
    return DTYPES.get(types.builtin_to_string(var.dtype))


def port_of(var: Any, tensor_type: Any = None) -> Port:
    """Describe a variable of a program; `tensor_type` is what a state wraps."""
    if tensor_type is None and types.is_list(var.sym_type):
        return Port(var.name, LIST, ())
    element = tensor_type.get_primitive() if tensor_type is not None else var.dtype
    shape = tensor_type.get_shape() if tensor_type is not None else var.shape
    dtype = DTYPES.get(types.builtin_to_string(element))
    name = str(dtype).removeprefix("torch.") if dtype else types.builtin_to_string(element)
    return Port(var.name, name, tuple(int(s) if isinstance(s, (int, np.integer)) else None for s in shape))


def port_for(var: Any, feature: Any) -> Port:
    """Describe an input of a program with the sizes that the model's description of it allows.

    Args:
        var: the program's variable.
        feature: `FeatureDescription`, or None where there is none.
    """
    port = port_of(var)
    kind = feature.type.WhichOneof("Type") if feature is not None else None
    if kind == "imageType":
        return _image_port(port, feature.type.imageType)
    if kind != "multiArrayType":
        return port
    array = feature.type.multiArrayType
    flexible = array.WhichOneof("ShapeFlexibility")
    if flexible == "enumeratedShapes":
        return replace(port, shapes=tuple(tuple(int(n) for n in s.shape) for s in array.enumeratedShapes.shapes))
    if flexible == "shapeRange" and len(array.shapeRange.sizeRanges) == len(port.shape):
        return replace(port, ranges=tuple(_range(r) for r in array.shapeRange.sizeRanges))
    return port


def _image_port(port: Port, image: Any) -> Port:
    """Take in what is said of the last two axes of an image, (1, channels, height, width)."""
    before = tuple(port.shape[:-2])
    flexible = image.WhichOneof("SizeFlexibility")
    if flexible == "enumeratedSizes" and None not in before:
        sizes = image.enumeratedSizes.sizes
        return replace(port, shapes=tuple((*(n or 1 for n in before), int(s.height), int(s.width)) for s in sizes))
    if flexible == "imageSizeRange":
        size = image.imageSizeRange
        fixed = tuple((n or 1, n) for n in before)
        return replace(port, ranges=(*fixed, _range(size.heightRange), _range(size.widthRange)))
    return port


def _range(stored: Any) -> Range:
    return int(stored.lowerBound), None if stored.upperBound < 0 else int(stored.upperBound)


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
