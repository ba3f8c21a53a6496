"""Targets by name. A target's converter, and the libraries that it needs, are imported only when asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from qlot.export.errors import ExportError, TargetError
from qlot.export.options import DEFAULTS, Packing, TargetOptions
from qlot.export.targets.base import Converter
from qlot.runtime.bundle.manifest import Target
from qlot.runtime.extras import pip_line
from qlot.runtime.quiet import quiet
from qlot.runtime.stopping import loading


def _onnx(options: TargetOptions) -> Converter:
    from qlot.export.targets.onnx.converter import OnnxConverter

    return OnnxConverter(options)


def _tflite(options: TargetOptions) -> Converter:
    from qlot.export.targets.tflite.converter import TFLiteConverter

    return TFLiteConverter(options)


def _coreml(options: TargetOptions) -> Converter:
    from qlot.export.targets.coreml.converter import CoreMLConverter

    return CoreMLConverter(options)


@dataclass(frozen=True)
class _Known:
    """How a target is loaded, what that imports, the extra that installs it, and the packing that is its own."""

    load: Callable[[TargetOptions], Converter]
    needs: str
    extra: str
    packing: Packing
    what: str


_TARGETS: dict[Target, _Known] = {
    "onnx": _Known(_onnx, "onnxscript", "export", "ort", "ORT format is ONNX Runtime's"),
    "tflite": _Known(
        _tflite, "litert_torch", "tflite", "single-file", "a file of several signatures is TFLite's"
    ),
    "coreml": _Known(_coreml, "coremltools", "coreml", "multifunction", "a package of functions is Core ML's"),
}  # fmt: skip
_SAME_ELSEWHERE: dict[tuple[Packing, Target], Packing] = {
    ("single-file", "coreml"): "multifunction",
    ("multifunction", "tflite"): "single-file",
}


def load_target(name: str, options: TargetOptions = DEFAULTS) -> Converter:
    """Import a target's converter and set it up.

    Raises:
        TargetError: unknown, an option of another target, or its extra is not installed, with the line that adds it.
        ExportError: a packing of another target, with the nearest valid choice; or options that exclude each other.
    """
    target = next((t for t in _TARGETS if t == name), None)
    if target is None:
        raise TargetError(f"unknown target {name!r}; there are: {', '.join(_TARGETS)}")
    known = _TARGETS[target]
    _check_own(target, options)
    if importlib.util.find_spec(known.needs) is None:
        raise TargetError(f"target {name} needs {known.needs}: {pip_line(known.extra)}")
    with loading(), quiet():
        return known.load(options)


def check_unpacked(packing: Packing | None) -> None:
    """Raise ExportError if a packing is asked of all targets."""
    if packing is not None:
        raise ExportError(
            f"--packing {packing} is for one target alone: leave it out, or choose --target {_owner(packing)}."
        )


def _check_own(target: Target, options: TargetOptions) -> None:
    """Refuse options of other targets."""
    packing, own = options.packing, _TARGETS[target].packing
    if target != "coreml" and (options.min_ios is not None or options.image_input):
        raise TargetError(f"--min-ios and --image-input are for target coreml, not {target}: leave them out.")
    if packing is not None and packing != own:
        owner = _owner(packing)
        same = _SAME_ELSEWHERE.get((packing, target))
        instead = f"choose --packing {same}, the same for {target}" if same else (
            f"leave it out, or choose --target {owner}"
        )  # fmt: skip
        raise ExportError(
            f"--packing {packing} is for {owner} alone, not for {target}: {_TARGETS[owner].what}; {instead}."
        )


def _owner(packing: Packing) -> Target:
    return next(target for target, known in _TARGETS.items() if known.packing == packing)
