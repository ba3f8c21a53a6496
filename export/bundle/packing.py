"""How converted graphs become files, where that is not one file, or one package, for each stage.

A packing belongs to one target and is a converter like it: stages are converted one by one as ever, then packed. So a
packed bundle computes what the same bundle with a file each computes.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Literal, cast

from qlot.export.errors import ExportError, SchemeError
from qlot.export.graphs.schemes import PLANS, SchemePlan
from qlot.export.targets import load_target
from qlot.export.targets.base import Converter
from qlot.export.targets.coreml.options import DEFAULTS, CoreMLOptions
from qlot.runtime.bundle.manifest import Scheme, Target

Packing = Literal["single-file", "multifunction", "ort"]

# packing -> (its target, module, what it is)
_PACKINGS: dict[Packing, tuple[Target, str, str]] = {
    "single-file": ("tflite", "qlot.export.targets.tflite.single_file", "a file of several signatures is TFLite's"),
    "multifunction": ("coreml", "qlot.export.targets.coreml.multifunction", "a package of functions is Core ML's"),
    "ort": ("onnx", "qlot.export.targets.onnx.ort_format", "ORT format is ONNX Runtime's"),
}

FUNCTIONS_FROM = 18  # iOS

_INSTEAD: dict[tuple[Packing, Target], str] = {
    ("single-file", "coreml"): "choose --multifunction, the same for coreml",
    ("multifunction", "tflite"): "choose --single-file, the same for tflite",
}

# ONNX Runtime folds what unpacks weights when it writes ORT format, and casts where this machine has no kernel.
_LOST: dict[Scheme, str] = {
    "fp16": "written here, ORT format computes in float32, since ONNX Runtime has no float16 kernels on this machine",
    "w8": "ORT format stores weights as they are computed with, which is float32",
}


def load_converter(target: Target, packing: Packing | None, coreml: CoreMLOptions = DEFAULTS) -> Converter:
    """Import the module of a target, or of its packing; `coreml` are the options of that target.

    Raises:
        TargetError: the target is unknown, or its extra is not installed.
        ExportError: the packing is another target's, with the nearest valid choice, or needs a newer iOS.
    """
    converter = load_target(target, coreml)
    if packing is None:
        return converter
    own, module, what = _PACKINGS[packing]
    if target != own:
        instead = _INSTEAD.get((packing, target), f"leave it out, or choose --target {own}")
        raise ExportError(f"--{packing} is for {own} alone, not for {target}: {what}; {instead}.")
    loaded = import_module(module)
    if packing != "multifunction":
        return cast(Converter, loaded)
    if coreml.min_ios < FUNCTIONS_FROM:
        raise ExportError(
            f"--multifunction needs iOS {FUNCTIONS_FROM}, the first to open a package by function: add --min-ios "
            f"{FUNCTIONS_FROM}, or leave --multifunction out."
        )
    return cast(Converter, loaded.MultifunctionConverter(coreml))


def check_unpacked(packing: Packing | None) -> None:
    """Raise ExportError if a packing is asked of all targets."""
    if packing is not None:
        raise ExportError(
            f"--{packing} is for one target alone: leave it out, or choose --target {_PACKINGS[packing][0]}."
        )


def packed_plan(plan: SchemePlan, packing: Packing | None) -> SchemePlan:
    """Return what a scheme's plan becomes in a packing.

    Raises:
        SchemeError: the packing does not keep what the scheme stores or computes, with the nearest valid choice.
    """
    if packing != "ort":
        return plan
    if plan.name in _LOST:
        raise SchemeError(
            f"--ort does not take scheme {plan.name}: {_LOST[plan.name]}. Choose --scheme fp32 or --int8, or leave "
            "--ort out."
        )
    kept = {"kept float": PLANS[plan.name].rules["kept float"]} if "kept float" in plan.rules else {}
    return replace(plan, rules={**plan.rules, **kept})  # without what is stored small and unpacked at load
