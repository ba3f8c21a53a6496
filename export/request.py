"""What an export is asked for, and what it gives back. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qlot.export.options import DEFAULTS, TargetOptions
from qlot.runtime.bundle.manifest import CalibrationSpec, Lowering, Target

if TYPE_CHECKING:
    from qlot.export.parity.levels import Levels
    from qlot.runtime.bundle.folder import Bundle

DEFAULT_CHECKPOINT, DEFAULT_LAYOUT = "base", "wflw98"


@dataclass(frozen=True)
class ExportRequest:
    """What a user asked for.

    Attributes:
        target: onnx, tflite or coreml.
        scheme: a scheme or an alias, as typed.
        checkpoint: a file, or the name of shipped weights.
        layout: a shipped layout, or a JSON file.
        unrolled: steps of an additional unrolled refiner; None for none.
        lowering: None picks the target's own.
        calibration: a clip or image folder in place of the built-in frames.
        out: the bundle's folder; None names it by preset, layout, target and scheme, in the working directory.
        force: replace an existing bundle.
        golden: include the golden sequence.
        report: HTML page for the parity report, written whether the bundle passes or not; None for none.
        options: of the target.
    """

    target: Target
    scheme: str = "fp32"
    checkpoint: str = DEFAULT_CHECKPOINT
    layout: str = DEFAULT_LAYOUT
    unrolled: int | None = None
    lowering: Lowering | None = None
    calibration: Path | None = None
    out: Path | None = None
    force: bool = False
    golden: bool = True
    report: Path | None = None
    options: TargetOptions = DEFAULTS


@dataclass(frozen=True)
class ExportResult:
    """A written bundle, and how it did on the parity frames."""

    bundle: Bundle
    report: Levels
    calibration: CalibrationSpec | None
