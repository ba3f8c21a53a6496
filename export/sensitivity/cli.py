"""The body of `qlot-export --sensitivity`: a table on the console, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from qlot.export.calibration.frames import FrameSet, calibration_clip
from qlot.export.errors import ExportError, SchemeError
from qlot.export.graphs.schemes import ALIASES
from qlot.export.parity.spread import Spread
from qlot.export.pipeline import ExportRequest, load_model, resolve_checkpoint
from qlot.export.sensitivity.measure import SCHEMES, Cost, QuantisedScheme, Study, prepare
from qlot.model.checkpoint import checkpoint_metadata, file_sha256
from qlot.model.layout import LayoutError, load_layout
from qlot.runtime.partial import written_whole

_MEASURED = {"cold_first": "cold, step 1", "cold_last": "cold, last step", "tracked": "tracked"}


def run(requests: Sequence[ExportRequest], console: Console) -> None:
    """Measure and print what each group of modules costs, and write it as JSON to the one request's `out` if given.

    Raises:
        ExportError: the request asks for what this measurement does not have, or the file cannot be written.
    """
    if [r.target for r in requests] != ["onnx"]:
        raise ExportError("--sensitivity runs in ONNX Runtime: choose --target onnx.")
    (request,) = requests
    schemes = _schemes(request.scheme)
    if request.unrolled is not None or request.lowering is not None:
        raise ExportError(
            "--sensitivity measures the graphs of single steps as ONNX has them: leave out --iterations and --lowering."
        )
    if request.out is not None and request.out.exists() and not (request.force and request.out.is_file()):
        raise ExportError(f"{request.out} exists already: choose another file with --out, or replace it with --force.")
    path = resolve_checkpoint(request.checkpoint)
    model = load_model(path)
    try:
        layout = load_layout(request.layout)
    except LayoutError as e:
        raise ExportError(str(e)) from e
    clip = None
    if "w8a8" in schemes:
        clip = calibration_clip(request.calibration)
    elif request.calibration is not None:
        raise ExportError("scheme w8 needs no calibration: leave --calib out.")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("tracing, and tracking the parity frames in PyTorch")
        subject = prepare(model, layout, checkpoint_metadata(path), clip)
        costs: list[Cost] = []
        for scheme in schemes:
            progress.update(task, description=f"{scheme}: starting")
            for cost in subject.costs(scheme):
                costs.append(cost)
                progress.update(task, description=f"{scheme}: {cost.unit} done, {len(costs)} in all")
    for scheme in schemes:
        console.print(_table(scheme, [c for c in costs if c.scheme == scheme]))
    console.print(
        f"px of the network input ({subject.size}) from float32 PyTorch, median / max over landmarks and "
        f"{len(subject.cold)} cold starts of {subject.reference.steps[0]} steps, and over "
        f"{len(subject.reference.crops) - 1} tracked frames; everything else float32. Engine: {subject.engine}.",
        highlight=False,
    )
    if request.out is not None:
        _write(request.out, _document(path, layout.name, clip, subject, costs))
        console.print(f"written: {request.out}", highlight=False, soft_wrap=True)


def _schemes(asked: str) -> Sequence[QuantisedScheme]:
    name = ALIASES.get(asked, asked)
    chosen = [s for s in SCHEMES if s == name]
    if not chosen and name != "fp32":  # the default of an export: none was asked for
        raise SchemeError(f"--sensitivity measures {' and '.join(SCHEMES)}: {name} has no groups to tell apart.")
    return chosen or SCHEMES


def _table(scheme: str, costs: Iterable[Cost]) -> Table:
    table = Table(
        "group", "kB saved", *_MEASURED.values(), title=scheme, title_justify="left", box=None, pad_edge=False
    )
    for cost in costs:
        table.add_row(cost.unit, f"{cost.saved / 1e3:.0f}", *(_text(getattr(cost, m)) for m in _MEASURED))
    return table


def _text(spread: Spread) -> str:
    return f"{spread.median:.3f} / {spread.max:.2f}"


def _document(path: Path, layout: str, clip: FrameSet | None, subject: Study, costs: Sequence[Cost]) -> Any:
    return {
        "checkpoint": path.name,
        "checkpoint_sha256": file_sha256(path),
        "layout": layout,
        "size": subject.size,
        "calibration": clip and {"source": clip.source, "frames": len(clip.frames), "sha256": clip.sha256},
        "engine": subject.engine,
        "cold": {"frames": len(subject.cold), "steps": int(subject.reference.steps[0])},
        "tracked": {"frames": len(subject.reference.crops) - 1},
        "unit": "px of the network input",
        "costs": [asdict(c) for c in costs],
    }


def _write(out: Path, document: Any) -> None:
    try:
        with written_whole(out) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as e:
        raise ExportError(f"cannot write {out}: {e.strerror}. Choose another place with --out.") from e
