"""Targets by name. A target's converter, and the libraries that it needs, are imported only when asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qlot.export.errors import ExportError, TargetError
from qlot.export.options import DEFAULTS, Packing, TargetOptions
from qlot.export.targets.rules import check_own, owner_of
from qlot.runtime.bundle.manifest import Target
from qlot.runtime.extras import pip_line
from qlot.runtime.quiet import quiet
from qlot.runtime.stopping import loading

if TYPE_CHECKING:  # it needs PyTorch, and what is read here does not
    from qlot.export.targets.base import Converter


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
    """How a target is loaded, what that imports, and the extra that installs it."""

    load: Callable[[TargetOptions], Converter]
    needs: str
    extra: str


_TARGETS: dict[Target, _Known] = {
    "onnx": _Known(_onnx, "onnxscript", "export"),
    "tflite": _Known(_tflite, "litert_torch", "tflite"),
    "coreml": _Known(_coreml, "coremltools", "coreml"),
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
    check_own(target, options)
    if importlib.util.find_spec(known.needs) is None:
        raise TargetError(f"target {name} needs {known.needs}: {pip_line(known.extra)}")
    with loading(), quiet():
        return known.load(options)


def check_unpacked(packing: Packing | None) -> None:
    """Raise ExportError if a packing is asked of all targets."""
    if packing is not None:
        raise ExportError(
            f"--packing {packing} is for one target alone: leave it out, or choose --target {owner_of(packing)}."
        )
