"""Targets by name. A target's module, and the converter it needs, are imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from qlot.export.errors import TargetError
from qlot.export.schemes import SchemePlan
from qlot.export.stages import Stage
from qlot.runtime.manifest import Lowering, Target

Feeds = Sequence[Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Graph:
    """One converted stage."""

    data: bytes
    suffix: str  # of its file
    macs: int
    ops: dict[str, int]


class Converter(Protocol):
    """What a target's module offers. Opening a session is the runtime's part."""

    DEFAULT_LOWERING: Lowering
    TOOLS: tuple[str, ...]  # distributions whose versions go into the manifest

    def convert(self, stage: Stage, plan: SchemePlan, calibration: Feeds | None) -> Graph:
        """Convert a stage under a scheme; `calibration` are recorded inputs of this stage where the plan needs them."""


# target -> (module, what it imports, extra that installs it); a target without a module is known but not built yet.
_TARGETS: dict[Target, tuple[str | None, str, str]] = {
    "onnx": ("qlot.export.targets.onnx", "onnxscript", "export"),
    "tflite": ("qlot.export.targets.tflite", "litert_torch", "tflite"),
    "coreml": (None, "coremltools", "coreml"),
}


def load_target(name: str) -> Converter:
    """Import a target's module.

    Raises:
        TargetError: unknown, not built yet, or its extra is not installed, with the line that adds it.
    """
    if name not in _TARGETS:
        raise TargetError(f"unknown target {name!r}; there are: {', '.join(_TARGETS)}")
    module, needs, extra = _TARGETS[name]
    if module is None:
        raise TargetError(f"target {name} is not part of this version; --target onnx is.")
    if importlib.util.find_spec(needs) is None:
        raise TargetError(f"target {name} needs {needs}: pip install 'qlot-mobile[{extra}]'")
    return cast(Converter, importlib.import_module(module))
