"""Targets by name. A target's module, and the converter it needs, are imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.util
from typing import cast

from qlot.export.errors import TargetError
from qlot.export.targets.base import Converter
from qlot.export.targets.coreml.options import DEFAULTS, CoreMLOptions
from qlot.runtime.bundle.manifest import Target

# target -> (module, what it imports, extra that installs it)
_TARGETS: dict[Target, tuple[str, str, str]] = {
    "onnx": ("qlot.export.targets.onnx.convert", "onnxscript", "export"),
    "tflite": ("qlot.export.targets.tflite.convert", "litert_torch", "tflite"),
    "coreml": ("qlot.export.targets.coreml.convert", "coremltools", "coreml"),
}


def load_target(name: str, coreml: CoreMLOptions = DEFAULTS) -> Converter:
    """Import a target's module; `coreml` are the options of that target.

    Raises:
        TargetError: unknown, or its extra is not installed, with the line that adds it.
    """
    if name not in _TARGETS:
        raise TargetError(f"unknown target {name!r}; there are: {', '.join(_TARGETS)}")
    module, needs, extra = _TARGETS[name]
    if importlib.util.find_spec(needs) is None:
        raise TargetError(f"target {name} needs {needs}: pip install 'qlot-mobile[{extra}]'")
    loaded = importlib.import_module(module)
    return cast(Converter, loaded.CoreMLConverter(coreml) if name == "coreml" else loaded)
