"""From a checkpoint to a verified bundle: stages, targets, schemes, calibration, parity.

`export` is the one public name; importing it loads no PyTorch.

    from qlot.export import export

    result = export("onnx", "bundle", scheme="w8a8")
    print(result.bundle.path, result.report.free.max_result_px)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qlot.export.options import MinIOS, Packing, TargetOptions
from qlot.export.request import DEFAULT_CHECKPOINT, DEFAULT_LAYOUT, ExportRequest, ExportResult
from qlot.runtime.progress import Progress
from qlot.runtime.quiet import quiet
from qlot.runtime.stopping import loading

if TYPE_CHECKING:
    from qlot.runtime.bundle.manifest import Lowering, Target

__all__ = ["export"]


def export(
    target: Target,
    out: str | Path | None = None,
    *,
    scheme: str = "fp32",
    checkpoint: str | Path = DEFAULT_CHECKPOINT,
    layout: str | Path = DEFAULT_LAYOUT,
    calibration: str | Path | None = None,
    iterations: int | None = None,
    lowering: Lowering | None = None,
    golden: bool = True,
    force: bool = False,
    report: str | Path | None = None,
    packing: Packing | None = None,
    min_ios: MinIOS | None = None,
    image_input: bool = False,
    progress: Progress = lambda _: None,
) -> ExportResult:
    """Export a checkpoint to a bundle, verify it against float32 PyTorch, and write it.

    Args:
        target: "onnx", "tflite" or "coreml".
        out: the bundle's folder; None names it by preset, layout, target and scheme, in the working directory.
        scheme: storage and arithmetic: "fp32", "fp16", "w8", "w8a8", ...; docs/quantisation.md has the table.
        checkpoint: a file, or the name of shipped weights.
        layout: name of a shipped layout, or a JSON file of 3D points.
        calibration: video or image folder for w8a8, in place of the built-in frames.
        iterations: steps of an additional unrolled refiner; None for none.
        lowering: "dense" or "windowed" correlation; None for what suits the target.
        golden: include the golden sequence, by which the bundle can be verified again.
        force: replace an existing bundle.
        report: HTML file for the parity report, written whether the bundle passes or not.
        packing: "ort" (onnx), "single-file" (tflite) or "multifunction" (coreml); None for a file per stage.
        min_ios: coreml: 17 or 18; None for 17.
        image_input: coreml: the extractor takes an image.
        progress: called with a line at each step.

    Returns:
        The opened bundle, its parity report, and what it was calibrated on.

    Raises:
        ExportError: the export cannot be done as asked; nothing was written.
        ParityError: the bundle strays beyond its scheme's tolerance; nothing was written.
        VideoError: the calibration clip cannot be read.
    """
    with loading(), quiet():
        from qlot.export import pipeline

    request = ExportRequest(
        target=target,
        scheme=scheme,
        checkpoint=str(checkpoint),
        layout=str(layout),
        unrolled=iterations,
        lowering=lowering,
        calibration=None if calibration is None else Path(calibration),
        out=None if out is None else Path(out),
        force=force,
        golden=golden,
        report=None if report is None else Path(report),
        options=TargetOptions(packing, min_ios, image_input),
    )
    return pipeline.export(request, progress)
