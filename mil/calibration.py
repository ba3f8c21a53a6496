"""Calibrating quantised activations without a Mac.

coremltools measures the ranges of activations by running the model in Core ML. Here the interpreter does it, and the
rest of `coremltools.optimize.coreml.linear_quantize_activations` is coremltools' own. (Its measurement in version 9.0
also keeps the range of the last sample only, because `record_intermediate_output` overwrites what it is to widen.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from qlot.mil._coremltools import quiet
from qlot.mil.errors import MilError
from qlot.mil.program import Program

with quiet():
    from coremltools.optimize import coreml as cto
    from coremltools.optimize.coreml import _post_training_quantization as _ptq
    from coremltools.optimize.coreml.experimental import _post_training_quantization as _stats
    from coremltools.optimize.coreml.experimental._model_debugger import ModelDebugger

Ranges = dict[str, tuple[float, float]]


class Collector(Protocol):
    """Takes in the values of tensors and says which range each is to have."""

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Take in what one run made of a tensor."""

    def ranges(self) -> Ranges:
        """Return the range of each tensor; not finite where a value was not."""


class Extremes:
    """The plainest collector: a range holds every value."""

    def __init__(self) -> None:
        self._ranges: Ranges = {}

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Widen the range of a tensor by some values."""
        low, high = self._ranges.get(name, (np.inf, -np.inf))
        # numpy's minimum keeps what is not a number, Python's does not
        self._ranges[name] = float(np.minimum(low, values.min())), float(np.maximum(high, values.max()))

    def ranges(self) -> Ranges:
        """Return lowest and highest value of each tensor."""
        return self._ranges


def record_ranges(
    program: Program, samples: Sequence[Mapping[str, NDArray[Any]]], collector: Collector | None = None
) -> Ranges:
    """Return the range of every float input and intermediate over all samples.

    Args:
        program: the float program.
        samples: feeds, one run each.
        collector: what makes ranges of values, fresh; None: `Extremes`.

    Raises:
        MilError: there are no samples, or a run fails.
    """
    collected = collector if collector is not None else Extremes()

    def observe(name: str, value: NDArray[Any]) -> None:
        if value.dtype.kind == "f" and value.size:
            collected.add(name, value)

    if not samples:
        raise MilError("there are no calibration samples; record the inputs of the stage over some frames first.")
    for sample in samples:
        program.run(sample, program.new_state(), observe)
    ranges = collected.ranges()
    broken = sorted(name for name, pair in ranges.items() if not np.isfinite(pair).all())
    if broken:
        raise MilError(f"values are not finite in calibration, so have no range: {', '.join(broken[:5])}")
    return ranges


def quantise_activations(model: Any, config: Any, ranges: Mapping[str, tuple[float, float]]) -> Any:
    """Return a model whose activations pass through quantise and dequantise operations.

    Args:
        model: `coremltools.models.MLModel` of type mlprogram, in float.
        config: `coremltools.optimize.coreml.OptimizationConfig` with activation settings.
        ranges: of `record_ranges`.

    Raises:
        MilError: an activation that is to be quantised has no range.
    """

    def stats(fpmodel: Any, sample_data: Any, calibration_op_group_size: int = -1) -> dict[str, dict[str, float]]:
        outputs = {o.name for o in fpmodel.get_spec().description.output}
        found = {n: {"rmin": low, "rmax": high} for n, (low, high) in ranges.items() if n not in outputs}
        # The inputs of a concatenation share one range with its result. One of integers has no range to share.
        groups = [g for g in ModelDebugger(fpmodel)._get_concat_op_info() if any(n in found for n in g)]
        _stats._adjust_concat_surrounding_activation_stats(groups, found)
        return found

    with quiet(), mock.patch.object(_ptq, "_get_activation_calibration_stats", stats):
        try:
            return cto.linear_quantize_activations(model, config, sample_data=[])
        except KeyError as e:
            raise MilError(f"the activation {e} has no range; record ranges of this very model.") from e
        except ValueError as e:  # coremltools 9.0 makes float16 scales, whatever the activation is
            raise MilError(f"coremltools cannot quantise these activations; it needs them in float16: {e}") from e
