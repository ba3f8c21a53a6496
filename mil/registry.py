"""The table of operations: MIL's name -> what computes it.

A kernel is a plain function whose parameters are MIL's own names: positional ones are tensors, keyword-only ones are
attributes, which arrive as Python numbers, strings and (nested) lists. An operation that has an input which its kernel
does not name is refused when the program is loaded, so no option is ever dropped in silence; nor is a value of an
attribute outside the `Literal` that its kernel declares.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from torch import Tensor

Run = TypeVar("Run", bound=Callable[..., Any])


@dataclass(frozen=True)
class Kernel:
    """How one operation is computed."""

    run: Callable[..., Tensor | tuple[Tensor, ...]]
    tensors: frozenset[str]
    attributes: frozenset[str]
    wide: bool  # half-precision tensors arrive as float32, and the result is rounded to the operation's dtype once
    choices: Mapping[str, tuple[Any, ...]] = field(
        default_factory=dict
    )  # the values that an attribute can have, where listed


KERNELS: dict[str, Kernel] = {}
# Operations that stay out, and why.
REFUSED: dict[str, str] = {
    "conv_quantized": "coremltools calls it experimental and does not say what its look-up tables hold; store the "
    "weights as constexpr_affine_dequantize",
    "_const_symbolic": "it only exists while coremltools converts",
}


def computes(*ops: str) -> Callable[[Run], Run]:
    """Register the kernel of operations that do arithmetic: computed in float32, rounded once."""
    return _registrar(ops, wide=True)


def moves(*ops: str) -> Callable[[Run], Run]:
    """Register the kernel of operations that only move, compare or convert elements: nothing is widened."""
    return _registrar(ops, wide=False)


def _registrar(ops: tuple[str, ...], *, wide: bool) -> Callable[[Run], Run]:
    def register(run: Run) -> Run:
        parameters = inspect.signature(run).parameters.values()
        attributes = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        hints = {n: h for n, h in get_type_hints(run).items() if get_origin(h) is Literal}
        choices = {name: get_args(hint) for name, hint in hints.items()}
        kernel = Kernel(run, frozenset(p.name for p in parameters) - attributes, attributes, wide, choices)
        for op in ops:
            if op in KERNELS:
                raise ValueError(f"two kernels for {op}")
            KERNELS[op] = kernel
        return run

    return register
