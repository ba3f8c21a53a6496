"""`--dry-run`: everything that can be checked before anything is converted, and what an export would write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from qlot.export.bundle import writer
from qlot.export.bundle.spec import tracker_spec
from qlot.export.errors import ExportError
from qlot.export.pipeline import Prepared, prepare
from qlot.export.request import ExportRequest
from qlot.runtime.bundle.folder import MANIFEST
from qlot.runtime.bundle.golden import DATA, INDEX
from qlot.runtime.bundle.manifest import ConfidenceSpec, StageName, Target
from qlot.runtime.errors import QlotError
from qlot.runtime.legal import LEGAL

# Of a file for each stage; a packing may have its own. A test holds them against what converters write.
SUFFIXES: dict[Target, str] = {"onnx": ".onnx", "tflite": ".tflite", "coreml": ".mlpackage"}
_UNFITTED = ConfidenceSpec(bias=0, w_spread=-1, found=0.5, lost=0.3, calibration="none: fitted on export")


@dataclass(frozen=True)
class ExportPlan:
    """What an export would do.

    Attributes:
        out: the bundle's folder.
        files: of the bundle; a Core ML package counts as one.
        choices: what was asked for, resolved, by label.
        report: the page that would be written beside it, if one was asked for.
    """

    out: Path
    files: tuple[str, ...]
    choices: dict[str, str]
    report: Path | None


def plan_export(request: ExportRequest) -> ExportPlan:
    """Check a request and say what it would write. Nothing is written.

    Raises:
        ExportError: it cannot be met.
        VideoError: the calibration clip cannot be read.
    """
    ready = prepare(request)
    tracker_spec(ready.model.config, ready.layout, _UNFITTED)  # refuses sizes that no bundle can hold
    writer.check_place(ready.out, request.force)
    return ExportPlan(ready.out, _files(ready), _choices(ready), request.report)


def print_plans(console: Console, requests: Sequence[ExportRequest]) -> None:
    """Print what each request would write, going on past one that cannot be met.

    Raises:
        QlotError: the request cannot be met, or one of several.
    """
    refused = []
    for request in requests:
        try:
            plan = plan_export(request)
        except QlotError as e:
            if len(requests) == 1:
                raise
            refused.append(request.target)
            _say(console, f"{request.target}: would not be written: {e}")
            continue
        _say(console, f"would be written: {plan.out}")
        _say(console, f"  files: {', '.join(plan.files)}")
        for label, text in plan.choices.items():
            _say(console, f"  {label}: {text}")
        if plan.report:
            _say(console, f"  report: {plan.report}")
    _say(console, "nothing was converted, and nothing written")
    if refused:
        raise ExportError(f"{len(refused)} of {len(requests)} bundles would not be written: {', '.join(refused)}.")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _files(ready: Prepared) -> tuple[str, ...]:
    packing, suffix = ready.request.options.packing, SUFFIXES[ready.request.target]
    stages: list[StageName] = ["extractor", "refiner"]
    if ready.request.unrolled:
        stages.append("refiner_unrolled")
    graphs = [f"{name}{'.ort' if packing == 'ort' else suffix}" for name in stages]
    if packing in ("single-file", "multifunction"):
        graphs = [f"model{suffix}"]
    if packing == "ort":
        graphs.append("required_operators.config")
    golden = [INDEX, DATA] if ready.request.golden else []
    return (MANIFEST, *graphs, *golden, *LEGAL)


def _choices(ready: Prepared) -> dict[str, str]:
    request, config = ready.request, ready.model.config
    found = {
        "checkpoint": f"{ready.path} ({config.preset}, {config.image_size} px)",
        "layout": f"{ready.layout.name}, {len(ready.layout)} landmarks",
        "scheme": ready.plan.name + (", experimental" if ready.plan.experimental else ""),
        "lowering": request.lowering or ready.converter.default_lowering,
    }
    if ready.converter.min_ios:
        found["oldest iOS"] = str(ready.converter.min_ios)
    if ready.clip:
        found["calibration"] = f"{ready.clip.source}, {len(ready.clip.frames)} frames, sha256 {ready.clip.sha256[:12]}"
    return found
