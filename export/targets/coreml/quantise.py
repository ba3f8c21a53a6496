"""Schemes on Core ML: which operations compute in float16, and what coremltools quantises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qlot.export.graphs.ranges import Tails
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.targets.base import StageInputs
from qlot.export.targets.coreml.compress import compress
from qlot.export.targets.coreml.program import Product, operations, products
from qlot.mil import from_model
from qlot.mil.calibration import Ranges, quantise_activations, record_ranges
from qlot.mil.constants import is_constant
from qlot.mil.package import load_program
from qlot.runtime.quiet import quiet

with quiet():
    from coremltools.optimize import coreml as cto


class HalfSelector:
    """Tells coremltools which operations compute in float16: what a plan names, and what lies between.

    Between are the operations on the way from one convolution of the extractor to another: were they left in float32,
    every map would be cast back and forth. int8 starts from there, because coremltools quantises float16 only.
    """

    def __init__(self, plan: SchemePlan, known: Mapping[str, str]) -> None:
        """`known`: module path of each constant of weights."""
        self._plan, self._known = plan, known
        self._chosen: set[str] | None = None

    def __call__(self, op: Any) -> bool:
        """Whether an operation is one. All are chosen at the first question, before coremltools changes any."""
        if self._chosen is None:
            self._chosen = self._choose([o for o in op.enclosing_block.operations if not is_constant(o)])
        return op.name in self._chosen

    def _choose(self, ops: Sequence[Any]) -> set[str]:
        named = [p for p in products(ops, self._known) if self._plan.quantised(p.path) in ("float16", "int8")]
        convolutions = {p.op for p in named if not p.path.startswith("model.refiner")}
        after = _reached(convolutions, ops, _makers)
        before = _reached(convolutions, ops[::-1], _readers)
        return {p.op for p in named} | (after & before)


def load(model: Any) -> Any:
    """Return the pymil program of an `MLModel`."""
    return load_program(model.get_spec(), Path(model.weights_dir), "the converted model")


def quantise(model: Any, plan: SchemePlan, known: Mapping[str, str], calibration: StageInputs | None) -> Any:
    """Return a converted model with the plan's storage and int8 arithmetic; unchanged if it names nothing in it.

    Args:
        model: `MLModel` in float32, or for a plan with int8 activations in the float16 of `HalfSelector`.
        plan: names the groups and their arithmetic.
        known: module path of each constant of weights.
        calibration: recorded inputs, for a plan that needs them.

    Raises:
        MilError: an activation has no range, or there is nothing to calibrate on.
    """
    found = products(operations(load(model)), known)
    static = [p for p in found if plan.quantised(p.path) == "int8"]
    if static:
        model = _with_int8_activations(model, static, calibration or ())
    return compress(model, [(p, plan.quantised(p.path)) for p in found])


def _with_int8_activations(model: Any, static: Sequence[Product], calibration: StageInputs) -> Any:
    floats = [{name: value.astype(np.float32) for name, value in feeds.items()} for feeds in calibration]
    ranges = record_ranges(from_model(model), floats, Tails(len(floats)))  # a picture is its values 0..255
    saturate(load(model), ranges)
    config = cto.OpLinearQuantizerConfig(
        mode="linear", dtype="int8"
    )  # after a ReLU, half of a symmetric range is empty
    return quantise_activations(model, _only({p.op for p in static}, config), ranges)


def saturate(program: Any, ranges: Ranges) -> None:
    """Give each convolution that only a clamp reads the range of the clamp.

    What the clamp cuts off needs no levels: the quantiser saturates there. Then both have one scale, so that the
    second rounding is none.
    """
    for op in operations(program):
        readers = op.outputs[0].child_ops
        if op.op_type == "conv" and len(readers) == 1 and readers[0].op_type == "clip":
            ranges[op.outputs[0].name] = ranges[readers[0].outputs[0].name]


def _only(names: Iterable[str], config: Any) -> Any:
    return cto.OptimizationConfig(global_config=None, op_name_configs=dict.fromkeys(names, config))


def _makers(op: Any) -> set[str]:
    inputs = [v for value in op.inputs.values() for v in (value if isinstance(value, (list, tuple)) else [value])]
    return {v.op.name for v in inputs if v is not None and v.op is not None}


def _readers(op: Any) -> set[str]:
    return {reader.name for var in op.outputs for reader in var.child_ops}


def _reached(start: set[str], ops: Sequence[Any], sources: Callable[[Any], set[str]]) -> set[str]:
    """Names of operations that are in `start`, or have a source that is reached; `ops` in an order that allows it."""
    found: set[str] = set()
    for op in ops:
        if op.name in start or sources(op) & found:
            found.add(op.name)
    return found
