"""The body of `qlot sensitivity`: a table on the console, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from qlot.export.calibration.frames import FrameSet, calibration_clip
from qlot.export.errors import ExportError
from qlot.export.parity.spread import Spread
from qlot.export.pipeline import load_model, resolve_checkpoint
from qlot.export.sensitivity.measure import Cost, QuantisedScheme, Study, prepare
from qlot.model.checkpoint import checkpoint_metadata, file_sha256
from qlot.model.layout import LayoutError, load_layout
from qlot.runtime.partial import check_writable, made_folders, written_whole
from qlot.runtime.progress import shown
from qlot.runtime.quiet import quiet

_MEASURED = {"cold_first": "cold, step 1", "cold_last": "cold, last step", "tracked": "tracked"}


@dataclass(frozen=True)
class SensitivityRequest:
    """What a user asked for.

    Attributes:
        schemes: to measure, in this order.
        checkpoint: a file, or the name of shipped weights.
        layout: a shipped layout, or a JSON file.
        calibration: a clip or image folder for w8a8, in place of the built-in frames.
        out: JSON file to write as well; None for none.
        force: replace an existing file.
    """

    schemes: Sequence[QuantisedScheme]
    checkpoint: str
    layout: str
    calibration: Path | None = None
    out: Path | None = None
    force: bool = False


def run(request: SensitivityRequest, console: Console) -> None:
    """Measure and print what each group of modules costs, and write it as JSON if asked.

    Raises:
        ExportError: checkpoint, layout or clip cannot be used, or the file cannot be written.
    """
    if request.out is not None:
        _check_place(request.out, request.force)
    path = resolve_checkpoint(request.checkpoint)
    model = load_model(path)
    try:
        layout = load_layout(request.layout)
    except LayoutError as e:
        raise ExportError(str(e)) from e
    clip = None
    if "w8a8" in request.schemes:
        clip = calibration_clip(request.calibration)
    elif request.calibration is not None:
        raise ExportError("scheme w8 needs no calibration: leave --calib out.")
    with shown(console) as progress:
        progress("tracing, and tracking the parity frames in PyTorch")
        with quiet():
            study = prepare(model, layout, checkpoint_metadata(path), clip)
        costs: list[Cost] = []
        for scheme in request.schemes:
            progress(f"{scheme}: starting")
            measured = study.costs(scheme)
            while True:
                with quiet():
                    cost = next(measured, None)
                if cost is None:
                    break
                costs.append(cost)
                progress(f"{scheme}: {cost.unit} done, {len(costs)} in all")
    for scheme in request.schemes:
        console.print(_table(scheme, [c for c in costs if c.scheme == scheme]))
    console.print(
        f"px of the network input ({study.size}) from float32 PyTorch, median / max over landmarks and "
        f"{len(study.cold)} cold starts of {study.reference.steps[0]} steps, and over "
        f"{len(study.reference.crops) - 1} tracked frames; everything else float32. Engine: {study.engine}.",
        highlight=False,
    )
    if request.out is not None:
        _write(request.out, _document(path, layout.name, clip, study, costs))
        console.print(f"written: {request.out}", highlight=False, soft_wrap=True)


def _check_place(out: Path, force: bool) -> None:
    """Refuse a file that cannot be written, before the work."""
    if out.exists() and not (force and out.is_file()):
        raise ExportError(f"{out} exists already: choose another file with --out, or replace it with --force.")
    try:
        check_writable(out)
    except OSError as e:
        raise ExportError(f"cannot write {out}: {e.strerror}. Choose another place with --out.") from e


def _table(scheme: str, costs: Iterable[Cost]) -> Table:
    table = Table(
        "group", "kB saved", *_MEASURED.values(), title=scheme, title_justify="left", box=None, pad_edge=False
    )
    for cost in costs:
        table.add_row(cost.unit, f"{cost.saved / 1e3:.0f}", *(_text(getattr(cost, m)) for m in _MEASURED))
    return table


def _text(spread: Spread) -> str:
    return f"{spread.median:.3f} / {spread.max:.2f}"


def _document(path: Path, layout: str, clip: FrameSet | None, study: Study, costs: Sequence[Cost]) -> Any:
    return {
        "checkpoint": path.name,
        "checkpoint_sha256": file_sha256(path),
        "layout": layout,
        "size": study.size,
        "calibration": clip and {"source": clip.source, "frames": len(clip.frames), "sha256": clip.sha256},
        "engine": study.engine,
        "cold": {"frames": len(study.cold), "steps": int(study.reference.steps[0])},
        "tracked": {"frames": len(study.reference.crops) - 1},
        "unit": "px of the network input",
        "costs": [asdict(c) for c in costs],
    }


def _write(out: Path, document: Any) -> None:
    try:
        with made_folders(out.parent), written_whole(out) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as e:
        raise ExportError(f"cannot write {out}: {e.strerror}. Choose another place with --out.") from e
