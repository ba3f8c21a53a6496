"""Constants of a program, decoded once: plain ones, and the compressed ones that MIL calls constexpr.

The decoders are coremltools' own (`decompress` of each operation), called here with decoded inputs, because its
materialisation does not follow every nesting, such as a quantised look-up table. Values come out rounded to the
dtype that the program declares; that Core ML decodes to exactly these values is an assumption.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qlot.mil.errors import OpError
from qlot.mil.ports import HELD, torch_dtype

CONSTEXPR = "constexpr_"


def is_constant(op: Any) -> bool:
    """Whether an operation of a program only stores values."""
    return op.op_type == "const" or op.op_type.startswith(CONSTEXPR)


class Constants:
    """Values of a function's constants: as tensors for computing, as Python values for attributes."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}  # variable -> numpy array, number or string
        self._tensors: dict[tuple[Any, bool], torch.Tensor] = {}

    def add(self, op: Any) -> None:
        """Decode a constant operation.

        Raises:
            OpError: it cannot be decoded.
        """
        if op.op_type == "const":
            self._values[op.outputs[0]] = op.outputs[0].val
            return
        try:
            decoded = self._decode(op)
        except Exception as e:  # whatever a damaged constant trips over
            raise OpError(f"the constant {op.outputs[0].name!r} ({op.op_type}) cannot be decoded: {e}") from e
        for var, value in zip(op.outputs, decoded, strict=True):
            self._values[var] = value

    def __contains__(self, var: Any) -> bool:
        return var in self._values

    def tensor(self, var: Any, *, wide: bool) -> torch.Tensor:
        """Return a constant in its declared dtype; `wide`: half precision as float32."""
        key = (var, wide)
        if key not in self._tensors:
            tensor = torch.from_numpy(np.array(self._values[var]))  # a copy: the file's bytes are read-only
            dtype = torch_dtype(var)
            tensor = tensor if dtype is None else tensor.to(HELD.get(dtype, dtype))
            self._tensors[key] = tensor.float() if wide and dtype is torch.float16 else tensor
        return self._tensors[key]

    def plain(self, var: Any) -> Any:
        """Return a constant as Python number, string, or (nested) list of them."""
        value = self._values[var]
        if isinstance(value, list):  # of class labels, or of the sizes of a list's elements
            return [v.val if hasattr(v, "val") else v for v in value]
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

    def _decode(self, op: Any) -> tuple[Any, ...]:
        inputs = {name: None if var is None else self._values[var] for name, var in op.inputs.items()}
        for name in op.input_spec.input_types:
            inputs.setdefault(name, None)  # a left-out optional input
        if op.op_type == "constexpr_cast":
            return (np.asarray(inputs["source_val"]).astype(np.float32),)
        value = type(op).decompress(**inputs)
        return value if isinstance(value, tuple) else (value,)
