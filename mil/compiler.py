"""From a function of a MIL program to the list of steps that computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qlot.mil import ops as _ops  # noqa: F401 - fills the table
from qlot.mil.constants import Constants, is_constant
from qlot.mil.control import CONTROL
from qlot.mil.errors import OpError
from qlot.mil.ports import LIST, Port, port_of, torch_dtype
from qlot.mil.registry import KERNELS, REFUSED, Kernel
from qlot.mil.steps import Call, Frame, Observe, Result, Step

Read = Callable[[Frame], Any]


class Compiler:
    """Numbers the variables of one function and binds its operations to kernels."""

    def __init__(self, function: str) -> None:
        self.constants = Constants()
        self.classes: tuple[str | int, ...] = ()
        self._function = function
        self._places: dict[Any, int] = {}

    @property
    def size(self) -> int:
        """How many places a frame needs."""
        return len(self._places)

    def place(self, var: Any) -> int:
        """Return the place of a variable, a new one for a new variable."""
        return self._places.setdefault(var, len(self._places))

    def places(self, variables: Sequence[Any]) -> set[int]:
        """Return the places of those variables that are not constants."""
        return {self.place(v) for v in variables if v not in self.constants}

    def read(self, var: Any, *, wide: bool = False) -> Read:
        """Return what fetches a variable, a constant or one from the frame; `wide`: half precision as float32."""
        if var in self.constants:
            tensor = self.constants.tensor(var, wide=wide)
            return lambda frame: tensor
        place = self.place(var)
        if wide:
            return lambda frame: _widened(frame[place])
        return lambda frame: frame[place]

    def compile(self, operations: Sequence[Any]) -> list[Step]:
        """Turn the operations of a block into steps; constants become none.

        Raises:
            OpError: an operation, or one of its inputs, is unknown here.
        """
        steps = []
        for op in operations:
            if is_constant(op):
                self.constants.add(op)
            else:
                steps.append(self._step(op))
        return steps

    def _step(self, op: Any) -> Step:
        if op.op_type in CONTROL:
            call, reads = CONTROL[op.op_type](self, op)
        elif op.op_type in KERNELS:
            call, reads = self._bind(op, KERNELS[op.op_type])
        else:
            why = REFUSED.get(op.op_type, "add a kernel to qlot.mil.ops")
            raise OpError(f"{self._named(op)} is not known to this interpreter: {why}.")
        results = _classified(self, op) if op.op_type == "classify" else _declared(self, op)
        return Step(op.op_type, call, results, frozenset(reads))

    def _named(self, op: Any) -> str:
        return f"operation {op.op_type!r} (output {op.outputs[0].name!r} of function {self._function!r})"

    def _bind(self, op: Any, kernel: Kernel) -> tuple[Call, set[int]]:
        """Sort an operation's inputs into those known now and those to be fetched at each run."""
        fixed: dict[str, Any] = {}
        fetched: dict[str, Read] = {}
        reads: set[int] = set()
        for name, var in op.inputs.items():
            if var is None:
                continue
            if name not in kernel.tensors | kernel.attributes:
                raise OpError(f"{self._named(op)}: its input {name!r} is not known to this interpreter.")
            listed = isinstance(var, (list, tuple))
            variables = tuple(var) if listed else (var,)
            reads |= self.places(variables)
            if name in kernel.tensors:
                each = [self.read(v, wide=kernel.wide) for v in variables]
            elif all(v in self.constants for v in variables):
                plain = [self.constants.plain(v) for v in variables]
                fixed[name] = plain if listed else plain[0]
                choices = kernel.choices.get(name)
                if choices is not None and fixed[name] not in choices:
                    raise OpError(f"{self._named(op)}: {name} {fixed[name]!r} is not supported, only {choices}.")
                continue
            else:
                each = [_plain(self.read(v)) for v in variables]
            fetched[name] = _tuple(each) if listed else each[0]
        return _calling(kernel, fixed, fetched), reads


def _calling(kernel: Kernel, fixed: dict[str, Any], fetched: dict[str, Read]) -> Call:
    run = kernel.run

    def call(frame: Frame, observe: Observe | None) -> tuple[Tensor, ...]:
        value = run(**fixed, **{name: read(frame) for name, read in fetched.items()})
        return value if isinstance(value, tuple) else (value,)

    return call


def _tuple(reads: Sequence[Read]) -> Read:
    return lambda frame: tuple(read(frame) for read in reads)


def _plain(read: Read) -> Read:
    return lambda frame: read(frame).tolist()


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype is torch.float16 else tensor


def _declared(compiler: Compiler, op: Any) -> tuple[Result, ...]:
    return tuple(Result(compiler.place(v), port_of(v), _number(v, op)) for v in op.outputs)


def _classified(compiler: Compiler, op: Any) -> tuple[Result, ...]:
    """Name the place of the winner among the classes, and the probabilities in their order."""
    compiler.classes = tuple(compiler.constants.plain(op.inputs["classes"]))
    label, chances = op.outputs
    return (
        Result(compiler.place(label), Port(label.name, "int64", ()), torch.int64),
        Result(compiler.place(chances), Port(chances.name, "float32", (len(compiler.classes),)), torch.float32),
    )


def _number(var: Any, op: Any) -> torch.dtype | None:
    dtype = torch_dtype(var)
    if dtype is None and port_of(var).dtype != LIST:
        raise OpError(f"{op.op_type} {var.name!r} returns {port_of(var)}, which this interpreter cannot hold.")
    return dtype
