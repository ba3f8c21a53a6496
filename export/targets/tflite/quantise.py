"""Schemes on TFLite: recipes of ai-edge-quantizer, one entry for each operator that the scheme's table names.

A recipe addresses operators by regular expressions on their output's name, the last match winning. Ours are exact
names, so nothing is quantised that the plan does not name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.calibrator import Calibrator
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils.qsv_utils import min_max_update
from torch import nn

from qlot.export.errors import TargetError
from qlot.export.graphs.ranges import Tails
from qlot.export.graphs.schemes import Arithmetic, SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.targets.base import StageInputs
from qlot.export.targets.tflite.clamps import Ranges, without_maximum
from qlot.export.targets.tflite.graph import Operator, module_path, operators, read, written
from qlot.model.layers import HeadedLinear

# What has weights of its own, BATCH_MATMUL where it is that of a headed linear layer.
_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")

# Operators that pass quantised values on between convolutions.
_BETWEEN = ("MAXIMUM", "MAX_POOL_2D", "CONCATENATION", "ADD", "PAD", "RESIZE_BILINEAR", "RESHAPE", "TRANSPOSE")
_CHAIN = ("model.backbone", "model.pyramid")


def quantise(
    data: bytes, model: Any, signature: str, plan: SchemePlan, known: Mapping[str, str], calibration: StageInputs | None
) -> Any:
    """Return a model traced in float32 under a scheme; as it was if the scheme names nothing in it.

    Args:
        data: the traced file.
        model: the same, parsed; it may be changed.
        signature: its one signature.
        plan: names the groups and their arithmetic.
        known: module path of each of the converter's names.
        calibration: recorded inputs, for a plan that needs them.
    """
    manager, ranges = recipe(operators(model), plan, known), None
    if not manager.get_quantization_recipe():
        return model
    if manager.need_calibration():
        ranges = without_maximum(model, _calibrated(data, signature, manager, calibration or ()))
        data, manager = written(model), recipe(operators(model), plan, known)
    quantiser = Quantizer(data, manager.get_quantization_recipe())
    result = quantiser.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    assert result.quantized_model is not None
    return read(bytes(result.quantized_model))


def check_names(found: list[Operator], stage: Stage, plan: SchemePlan, known: Mapping[str, str]) -> None:
    """Refuse a file whose operators do not bear the names of the modules that the plan quantises.

    Recipes go by names: were they lost in conversion, everything would silently stay float32.

    Raises:
        TargetError: an operator of some module is missing.
    """
    products = {module_path(o.output, known) for o in found if o.op in _PRODUCTS}
    parts = _CHAIN if stage.name == "extractor" else ("model.refiner",)
    layers = [path for path, m in stage.module.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear, HeadedLinear))]
    wanted = [path for path in layers if path.startswith(parts) and plan.quantised(path) != "float32"]
    # A clamp fused into its convolution leaves the name of the block around the two.
    missing = [path for path in wanted if not {path, path.rpartition(".")[0]} & products]
    if missing:
        raise TargetError(f"the converted {stage.name} does not name the operators of: {', '.join(missing[:5])}")


def recipe(found: list[Operator], plan: SchemePlan, known: Mapping[str, str]) -> RecipeManager:
    """Return a recipe that names every operator of the plan's groups, and what lies between int8 convolutions."""
    manager = RecipeManager()
    for operator in found:
        path = module_path(operator.output, known)
        arithmetic = plan.quantised(path)
        if operator.op in _PRODUCTS and arithmetic != "float32":
            _add(manager, operator, arithmetic)
        elif operator.op in _BETWEEN and arithmetic == "int8" and path.startswith(_CHAIN):
            _add(manager, operator, "int8")
    return manager


def _calibrated(data: bytes, signature: str, manager: RecipeManager, feeds: StageInputs) -> Ranges:
    """Return the ranges of what the recipe names over all recorded inputs.

    The quantiser finds out on one of them which tensors need one. It offers moving averages of each input's extremes,
    which clip what comes rarely and are wide for what comes always; so the ranges themselves are ours.

    Raises:
        TargetError: a value is not finite.
    """
    calibrator = Calibrator(data, num_threads=1, qsv_update_func=min_max_update)
    calibrator.calibrate({signature: [dict(feeds[0])]}, manager)
    needed = calibrator.get_model_qsvs()
    interpreter = Interpreter(model_content=data, num_threads=1, experimental_preserve_all_tensors=True)
    run = interpreter.get_signature_runner(signature)
    index = {d["name"]: d["index"] for d in interpreter.get_tensor_details()}
    tails = Tails(len(feeds))
    for inputs in feeds:
        run(**inputs)
        for name in needed:
            tails.add(name, interpreter.get_tensor(index[name]))
    broken = sorted(name for name, pair in tails.ranges().items() if not np.isfinite(pair).all())
    if broken:
        raise TargetError(f"values are not finite in calibration, so have no range: {', '.join(broken[:5])}")
    ends = {name: np.array(pair, np.float32) for name, pair in tails.ranges().items()}
    return {
        name: {"min": ends[name][0].reshape(found["min"].shape), "max": ends[name][1].reshape(found["max"].shape)}
        for name, found in needed.items()
    }


def _add(manager: RecipeManager, operator: Operator, arithmetic: Arithmetic) -> None:
    regex, op = f"^{re.escape(operator.output)};?$", qtyping.TFLOperationName(operator.op)
    if arithmetic == "float16":
        manager.add_weight_only_config(regex, op, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)
    elif arithmetic == "int8 weights":
        manager.add_weight_only_config(regex, op, num_bits=8)
    else:
        manager.add_static_config(regex, op, activation_num_bits=8, weight_num_bits=8)
