"""Calibrating quantised activations without a Mac.

coremltools measures the ranges of activations by running the model in Core ML. Here the interpreter does it, and the
rest of `coremltools.optimize.coreml.linear_quantize_activations` is coremltools' own. (Its measurement in version 9.0
also keeps the range of the last sample only, because `record_intermediate_output` overwrites what it is to widen.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from qlot.export.graphs.ranges import PERCENTILE, Tails
from qlot.mil._coremltools import quiet
from qlot.mil.errors import MilError
from qlot.mil.program import Program

with quiet():
    from coremltools.optimize import coreml as cto
    from coremltools.optimize.coreml import _post_training_quantization as _ptq
    from coremltools.optimize.coreml.experimental import _post_training_quantization as _stats
    from coremltools.optimize.coreml.experimental._model_debugger import ModelDebugger

Ranges = dict[str, tuple[float, float]]


def record_ranges(
    program: Program, samples: Sequence[Mapping[str, NDArray[Any]]], percentile: float = PERCENTILE
) -> Ranges:
    """Return the range of every float input and intermediate over all samples.

    Args:
        program: the float program.
        samples: feeds, one run each.
        percentile: share of the values that a range holds, in percent; 100 gives the extremes.

    Raises:
        MilError: there are no samples, or a run fails.
    """
    tails = Tails(len(samples), percentile)

    def observe(name: str, value: NDArray[Any]) -> None:
        if value.dtype.kind == "f" and value.size:
            tails.add(name, value)

    if not samples:
        raise MilError("there are no calibration samples; record the inputs of the stage over some frames first.")
    for sample in samples:
        program.run(sample, program.new_state(), observe)
    ranges = tails.ranges()
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
