"""Which target takes which scheme under which options, and why not. Light to import: no converter, no PyTorch.

One place for what a converter refuses before it converts; `qlot targets` prints the same as a table.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlot.export.errors import ExportError, SchemeError, TargetError
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.options import Packing, TargetOptions
from qlot.runtime.bundle.manifest import Lowering, Scheme, Target

FIRST_IOS = 17  # what Core ML packages are written for unless a newer one is asked for
FUNCTIONS_FROM = 18  # iOS


@dataclass(frozen=True)
class OwnPacking:
    """The packing that is a target's own, and why it is no other's."""

    name: Packing
    what: str


PACKINGS: dict[Target, OwnPacking] = {
    "onnx": OwnPacking("ort", "ORT format is ONNX Runtime's"),
    "tflite": OwnPacking("single-file", "a file of several signatures is TFLite's"),
    "coreml": OwnPacking("multifunction", "a package of functions is Core ML's"),
}
_SAME_ELSEWHERE: dict[tuple[Packing, Target], Packing] = {
    ("single-file", "coreml"): "multifunction",
    ("multifunction", "tflite"): "single-file",
}
# ONNX Runtime folds what unpacks weights when it writes ORT format, and casts where this machine has no kernel.
_LOST: dict[Scheme, str] = {
    "fp16": "written here, ORT format computes in float32, since ONNX Runtime has no float16 kernels on this machine",
    "w8": "ORT format stores weights as they are computed with, which is float32",
}


def check_own(target: Target, options: TargetOptions) -> None:
    """Refuse options of other targets, and options that exclude each other.

    Raises:
        TargetError: an option of Core ML alone.
        ExportError: a packing of another target, with the nearest valid choice; or one that the oldest iOS cannot open.
    """
    packing, own = options.packing, PACKINGS[target].name
    if target != "coreml" and (options.min_ios is not None or options.image_input):
        raise TargetError(f"--min-ios and --image-input are for target coreml, not {target}: leave them out.")
    if packing is not None and packing != own:
        owner = owner_of(packing)
        same = _SAME_ELSEWHERE.get((packing, target))
        instead = f"choose --packing {same}, the same for {target}" if same else (
            f"leave it out, or choose --target {owner}"
        )  # fmt: skip
        raise ExportError(
            f"--packing {packing} is for {owner} alone, not for {target}: {PACKINGS[owner].what}; {instead}."
        )
    if packing == "multifunction" and oldest_ios(options) < FUNCTIONS_FROM:
        raise ExportError(
            f"--packing multifunction needs iOS {FUNCTIONS_FROM}, the first to open a package by function: add "
            f"--min-ios {FUNCTIONS_FROM}, or leave --packing out."
        )


def check_plan(target: Target, plan: SchemePlan, options: TargetOptions) -> None:
    """Refuse a scheme that a target's options do not keep.

    Raises:
        SchemeError: with the nearest valid choice.
    """
    if options.packing == "ort" and plan.name in _LOST:
        raise SchemeError(
            f"--packing ort does not take scheme {plan.name}: {_LOST[plan.name]}. Choose --scheme fp32 or --int8, "
            "or leave --packing out."
        )
    if target == "coreml" and oldest_ios(options) < plan.min_ios:
        raise SchemeError(
            f"scheme {plan.name} needs iOS {plan.min_ios}, the first to unpack its blocks of weights: add "
            f"--min-ios {plan.min_ios}, or choose w8, which runs on iOS {oldest_ios(options)}."
        )


def check_lowering(target: Target, lowering: Lowering | None) -> None:
    """Refuse what only engines for CPUs compute well, or at all.

    Raises:
        TargetError: the target takes the dense lowering alone.
    """
    if lowering == "windowed" and target != "onnx":
        raise TargetError(f"target {target} takes the dense lowering only: leave --lowering out.")


def oldest_ios(options: TargetOptions) -> int:
    """Return the oldest iOS that Core ML packages are written for."""
    return options.min_ios or FIRST_IOS


def owner_of(packing: Packing) -> Target:
    """Return the target that a packing is for."""
    return next(target for target, own in PACKINGS.items() if own.name == packing)
