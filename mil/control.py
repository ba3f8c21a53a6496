"""Operations that need the frame itself: states, branches and loops; and the one that names classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from qlot.mil.steps import Call, Frame, Observe, Step, run_steps

Bound = tuple[Call, set[int]]  # the call, and the places it reads


class Compiling(Protocol):
    """What an operation asks of the compiler: where a variable lies in the frame, how it is read, a block's steps."""

    def place(self, var: Any) -> int: ...  # noqa: D102
    def places(self, variables: Sequence[Any]) -> set[int]: ...  # noqa: D102
    def read(self, var: Any, *, wide: bool = False) -> Callable[[Frame], Any]: ...  # noqa: D102
    def compile(self, operations: Sequence[Any]) -> list[Step]: ...  # noqa: D102


def _read_state(compiler: Compiling, op: Any) -> Bound:
    cell = compiler.place(op.inputs["input"])
    return lambda frame, observe: (frame[cell].value,), set()


def _update_state(compiler: Compiling, op: Any) -> Bound:
    cell, value = compiler.place(op.inputs["state"]), op.inputs["value"]
    read = compiler.read(value)

    def call(frame: Frame, observe: Observe | None) -> tuple[Tensor, ...]:
        frame[cell].value = read(frame)
        return (frame[cell].value,)

    return call, compiler.places([value])


def _cond(compiler: Compiling, op: Any) -> Bound:
    branches = [compiler.compile(list(b.operations)) for b in op.blocks]  # true, false
    outputs = [[compiler.read(v) for v in b.outputs] for b in op.blocks]
    predicate = compiler.read(op.inputs["pred"])

    def call(frame: Frame, observe: Observe | None) -> tuple[Tensor, ...]:
        which = 0 if bool(predicate(frame)) else 1
        run_steps(branches[which], frame, observe)
        return tuple(read(frame) for read in outputs[which])

    return call, compiler.places([op.inputs["pred"]]) | _nested_reads(compiler, op, branches)


def _while_loop(compiler: Compiling, op: Any) -> Bound:
    test, body = op.blocks
    places = [[compiler.place(v) for v in b.inputs] for b in (test, body)]
    start = [compiler.read(v) for v in op.inputs["loop_vars"]]
    steps = [compiler.compile(list(b.operations)) for b in (test, body)]
    goes_on = compiler.read(test.outputs[0])
    after = [compiler.read(v) for v in body.outputs]

    def call(frame: Frame, observe: Observe | None) -> tuple[Tensor, ...]:
        values = tuple(read(frame) for read in start)
        while True:
            for block in places:
                for place, value in zip(block, values, strict=True):
                    frame[place] = value
            run_steps(steps[0], frame, observe)
            if not bool(goes_on(frame)):
                return values
            run_steps(steps[1], frame, observe)
            values = tuple(read(frame) for read in after)

    return call, compiler.places(op.inputs["loop_vars"]) | _nested_reads(compiler, op, steps)


def _nested_reads(compiler: Compiling, op: Any, blocks: Sequence[Sequence[Step]]) -> set[int]:
    """Places that nested blocks read: what comes from outside must live until the whole operation is done."""
    inside = {place for steps in blocks for step in steps for place in step.reads}
    return inside.union(*(compiler.places(b.outputs) for b in op.blocks))


def _classify(compiler: Compiling, op: Any) -> Bound:
    probabilities = op.inputs["probabilities"]
    read = compiler.read(probabilities)

    def call(frame: Frame, observe: Observe | None) -> tuple[Tensor, ...]:
        chances = read(frame).flatten()
        return chances.argmax(), chances

    return call, compiler.places([probabilities])


CONTROL: dict[str, Callable[[Compiling, Any], Bound]] = {
    "read_state": _read_state,
    "coreml_update_state": _update_state,
    "cond": _cond,
    "while_loop": _while_loop,
    "classify": _classify,
}
