"""What a compiled function is made of, and how it is run.

Precision: every result has the dtype that the program declares for it. Arithmetic on half precision is done in
float32 on the half-precision inputs and rounded once per operation. For single additions, products, quotients and
roots that is exactly IEEE half-precision arithmetic; for sums (convolutions, matrix products, norms, softmax) it
assumes an engine that accumulates in float32, which real accelerators may not do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qlot.mil.errors import OpError
from qlot.mil.ports import HELD, Port

Frame = list[Any]  # one place per variable: a tensor, a list of tensors, or the cell of a state
Observe = Callable[[str, NDArray[Any]], None]
Call = Callable[[Frame, Observe | None], tuple[Tensor, ...]]


@dataclass
class StateCell:
    """The tensor of a state; reading returns it, updating replaces it."""

    value: Tensor


@dataclass(frozen=True)
class Result:
    """Where a result goes, and what it must be."""

    place: int
    port: Port
    dtype: torch.dtype | None  # None: a list of tensors

    def stored(self, value: Any) -> Any:
        """Convert a value to the declared dtype, held as `HELD` says."""
        if self.dtype is None:
            return value
        held = HELD.get(self.dtype, self.dtype)
        return value if value.dtype == held else value.to(self.dtype).to(held)


@dataclass(frozen=True)
class Step:
    """One operation, bound to its constants and to its places in the frame."""

    op: str
    call: Call
    results: tuple[Result, ...]
    reads: frozenset[int]
    frees: tuple[int, ...] = ()  # places that no later step reads


def run_steps(steps: Sequence[Step], frame: Frame, observe: Observe | None) -> None:
    """Compute the steps in order, in place.

    Raises:
        OpError: an operation failed, or its result is not what the program declares.
    """
    for step in steps:
        try:
            values = step.call(frame, observe)
        except OpError:
            raise  # of a nested block: it names the operation that failed
        except Exception as e:  # whatever a kernel trips over
            raise OpError(f"{step.op} {step.results[0].port.name!r} failed: {e}") from e
        for result, value in zip(step.results, values, strict=True):
            if result.dtype is not None and not result.port.fits(value.shape):
                got, port = tuple(value.shape), result.port
                raise OpError(f"{step.op} {port.name!r} came out as {got}; the program declares {port}")
            frame[result.place] = stored = result.stored(value)
            if observe is not None and result.dtype is not None:
                observe(result.port.name, to_array(stored, result.port))
        for place in step.frees:
            frame[place] = None


def free_early(steps: Sequence[Step], keep: set[int]) -> list[Step]:
    """Note at each step which places no later one reads: a freed map is memory that the next one takes warm."""
    needed, done = set(keep), []
    for step in reversed(steps):
        touched = step.reads | {r.place for r in step.results}
        done.append(replace(step, frees=tuple(sorted(touched - needed))))
        needed |= touched
    return done[::-1]


def to_tensor(array: NDArray[Any]) -> Tensor:
    """Copy an array into a tensor of its dtype, held as `HELD` says."""
    tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor.to(HELD.get(tensor.dtype, tensor.dtype))


def to_array(tensor: Tensor, port: Port) -> NDArray[Any]:
    """Show a tensor as an array of the dtype that its port declares."""
    return tensor.numpy().astype(port.dtype, copy=False)
