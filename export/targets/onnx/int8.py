"""Static int8 for ONNX: QDQ graphs by ONNX Runtime's quantiser, held to the scheme's table.

Four things are ours. Only the nodes that the plan names are quantised (an empty list would mean all of them). And the
clamps that learnable affine blocks become (`qlot.model.fuse`): the quantiser drops a clamp because the range of its
output saturates at the same value, which is not true for a lower bound above zero or an upper bound below it, since a
range always contains zero. There the clamp is put back, on the integers. Weights are chosen so that their products sum
exactly on every processor (`portable`), and the sums of the float stem are made exact (`exact`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from qlot.export.graphs.ranges import PERCENTILE
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.targets.base import StageInputs
from qlot.export.targets.onnx.exact import make_exact, make_resizes_exact
from qlot.export.targets.onnx.portable import make_portable

# Operators that pass quantised values on between convolutions.
_BETWEEN = ("Clip", "MaxPool", "Concat", "Add", "Pad", "Resize")


class _Recorded(CalibrationDataReader):
    """Recorded inputs in parts: what the calibrator sees of a part, it holds in memory."""

    def __init__(self, feeds: StageInputs) -> None:
        self._all = feeds
        self._part: Iterator[Mapping[str, NDArray[np.float32]]] = iter(feeds)

    def __len__(self) -> int:
        return len(self._all)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._part = iter(self._all[start_index:end_index])

    def get_next(self) -> Mapping[str, NDArray[np.float32]] | None:
        return next(self._part, None)


def quantise(
    model: ModelProto, plan: SchemePlan, paths: Mapping[str, str], calibration: StageInputs, ranges: Path | None = None
) -> ModelProto:
    """Return the static int8 form of a traced stage.

    Args:
        model: float32 graph with inferred shapes.
        plan: names the groups that become int8.
        paths: module path of each node.
        calibration: recorded inputs of this stage.
        ranges: file that keeps the ranges for other plans of the same graph; read if it is there, else written.
    """
    products = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    heavy = [n.name for n in products if plan.quantised(paths[n.name]) == "int8"]
    if not heavy:
        return model
    between = [n.name for n in model.graph.node if n.op_type in _BETWEEN and plan.quantised(paths[n.name]) == "int8"]
    clamps = {n.output[0]: _bounds(n, model) for n in model.graph.node if n.op_type == "Clip" and n.name in between}
    level = logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (Path(folder) / f"{name}.onnx" for name in ("float", "prepared", "int8"))
        onnx.save(model, source)
        logging.getLogger().setLevel(logging.ERROR)  # the quantiser advises on the root logger
        try:
            with contextlib.redirect_stdout(io.StringIO()), _waiting_quietly():  # the calibrator prints its progress
                quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
                quantize_static(
                    prepared,
                    target,
                    _Recorded(calibration),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Conv", "Gemm", *_BETWEEN],
                    nodes_to_quantize=heavy + between,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.Percentile,
                    extra_options={
                        "OpTypesToExcludeOutputQuantization": ["Gemm"],
                        "CalibPercentile": PERCENTILE,
                        "CalibStridedMinMax": 1,  # one input at a time, whatever the method
                    },
                    **({"calibration_cache_path": ranges} if ranges else {}),
                )
        finally:
            logging.getLogger().setLevel(level)
        quantised = onnx.load(target)
    make_portable(quantised, {t.name: numpy_helper.to_array(t) for t in model.graph.initializer})
    _restore_clamps(quantised, {name: (low, high) for name, (low, high) in clamps.items() if low > 0 or high < 0})
    make_resizes_exact(quantised)
    make_exact(model, quantised, calibration)
    return quantised


@contextlib.contextmanager
def _waiting_quietly() -> Iterator[None]:
    """Keep the threads of the calibrator's sessions, which take no options, from spinning while they wait.

    Where another program has a core, they burn the other one waiting for work that waits for them.
    """

    class Options(onnxruntime.SessionOptions):
        def __init__(self) -> None:
            super().__init__()
            self.add_session_config_entry("session.intra_op.allow_spinning", "0")

    with patch.object(onnxruntime, "SessionOptions", Options):
        yield


def _bounds(clip: NodeProto, model: ModelProto) -> tuple[float, float]:
    low, high = [*clip.input[1:], "", ""][:2]
    found = {t.name: float(numpy_helper.to_array(t)) for t in model.graph.initializer if t.name in {low, high} - {""}}
    return found.get(low, -np.inf), found.get(high, np.inf)


def _restore_clamps(model: ModelProto, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Insert an integer Clip behind the QuantizeLinear of each tensor whose dropped clamp excluded zero."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = list(model.graph.node)
    for i, node in reversed(list(enumerate(nodes))):
        if node.op_type != "QuantizeLinear" or node.input[0] not in bounds:
            continue
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        limits = np.clip(np.rint(np.array(bounds[node.input[0]]) / scale) + zero, 0, 255)
        raw, names = f"{node.output[0]}_raw", [f"{node.output[0]}_low", f"{node.output[0]}_high"]
        for name, limit in zip(names, limits, strict=True):
            model.graph.initializer.append(helper.make_tensor(name, TensorProto.UINT8, (), [int(limit)]))
        clip = helper.make_node("Clip", [raw, *names], [node.output[0]], name=f"{node.name}_clamp")
        node.output[0] = raw
        nodes.insert(i + 1, clip)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
