"""The command `qlot export`, which is also `qlot-export`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from qlot.export.errors import ExportError
from qlot.runtime.progress import shown
from qlot.runtime.quiet import quiet
from qlot.runtime.stopping import loading

if TYPE_CHECKING:
    from qlot.export.all_targets import Outcome
    from qlot.export.options import MinIOS, Packing
    from qlot.export.request import ExportRequest, ExportResult
    from qlot.runtime.bundle.manifest import Lowering, Target


class TargetName(StrEnum):
    """Targets of an export."""

    ONNX = "onnx"
    TFLITE = "tflite"
    COREML = "coreml"
    ALL = "all"


_TARGETS: dict[TargetName, tuple[Target, ...]] = {
    TargetName.ONNX: ("onnx",),
    TargetName.TFLITE: ("tflite",),
    TargetName.COREML: ("coreml",),
    TargetName.ALL: ("onnx", "tflite", "coreml"),
}


class LoweringName(StrEnum):
    """How correlation and lookup are computed."""

    AUTO = "auto"
    DENSE = "dense"
    WINDOWED = "windowed"


_LOWERINGS: dict[LoweringName, Lowering | None] = {
    LoweringName.AUTO: None,
    LoweringName.DENSE: "dense",
    LoweringName.WINDOWED: "windowed",
}


class SchemeName(StrEnum):
    """Storage and arithmetic."""

    FP32 = "fp32"
    FP16 = "fp16"
    W8 = "w8"
    W8A8 = "w8a8"
    PALETTE6 = "palette6"
    PALETTE4 = "palette4"
    W4 = "w4"


class MinIOSName(StrEnum):
    """Oldest iOS of Core ML packages."""

    IOS17 = "17"
    IOS18 = "18"


_MIN_IOS: dict[MinIOSName | None, MinIOS] = {MinIOSName.IOS17: 17, MinIOSName.IOS18: 18}


class PackingName(StrEnum):
    """How graphs become files, where that is not one for each stage."""

    SINGLE_FILE = "single-file"
    MULTIFUNCTION = "multifunction"
    ORT = "ort"


_PACKINGS: dict[PackingName | None, Packing] = {
    PackingName.SINGLE_FILE: "single-file",
    PackingName.MULTIFUNCTION: "multifunction",
    PackingName.ORT: "ort",
}


def export(
    target: Annotated[
        TargetName,
        typer.Option(
            "--target",
            "-t",
            help="Runtime to export for: onnx (ONNX Runtime); tflite (LiteRT, extra `tflite`); coreml (iOS and macOS, "
            "extra `coreml`); all of them, one bundle each, going on past one that fails.",
            show_default=False,
        ),
    ],
    scheme: Annotated[
        SchemeName | None,
        typer.Option(
            help="Storage and arithmetic: fp32; fp16; w8 (weights int8); w8a8 (convolutions and hidden linears static "
            "int8, heads and coordinates float). Experimental, coreml alone: palette6, palette4 (weights out of 64 or "
            "16 values a layer), w4 (weights int4 in blocks; needs --min-ios 18); nano does not bear the last two.",
            show_default="fp32",
            rich_help_panel="Scheme",
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Short for --scheme fp16.", rich_help_panel="Scheme")] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Short for --scheme w8a8. Calibrates on the built-in clip unless --calib is given.",
            rich_help_panel="Scheme",
        ),
    ] = False,
    calib: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO_OR_DIR",
            help="Calibrate on this video or image folder: one face throughout, 32 to 600 frames of it.",
            show_default="100 frames of the built-in clip",
            rich_help_panel="Scheme",
        ),
    ] = None,
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="FILE_OR_NAME",
            help="Our .safetensors, the published .pth, or the name of shipped weights: base (160 px input), "
            "nano (112 px, for slow phones).",
            rich_help_panel="Model",
        ),
    ] = "base",
    layout: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="Landmarks to track: wflw98, ibug68, synth70, mediapipe478, eyes, or a JSON file of 3D points.",
            rich_help_panel="Model",
        ),
    ] = "wflw98",
    iterations: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=12,
            metavar="K",
            help="Also write a refiner unrolled K times, one call for a whole frame.",
            show_default="none",
            rich_help_panel="Model",
        ),
    ] = None,
    lowering: Annotated[
        LoweringName,
        typer.Option(
            help="Correlation: dense maps (GPUs, neural engines), windowed gathers (CPUs), or what suits the target.",
            rich_help_panel="Model",
        ),
    ] = LoweringName.AUTO,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Folder of the bundle; with --target all, FOLDER/onnx, FOLDER/tflite, FOLDER/coreml.",
            show_default="qlot-PRESET-LAYOUT-TARGET-SCHEME",
            rich_help_panel="Output",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the parity report as one HTML page, whether the bundle passes or not; with --target all, "
            "FILE is a folder of one page for each.",
            show_default="none",
            rich_help_panel="Output",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an existing bundle, or fill an empty folder.", rich_help_panel="Output"),
    ] = False,
    packing: Annotated[
        PackingName | None,
        typer.Option(
            help="Another form of the files. single-file (tflite): one file, a signature for each stage; multifunction "
            "(coreml, --min-ios 18): one package, a function for each stage; ort (onnx): ORT format, and the operator "
            "list for a reduced build of ONNX Runtime.",
            show_default="a file or package for each stage",
            rich_help_panel="Output",
        ),
    ] = None,
    golden: Annotated[
        bool,
        typer.Option(
            "--golden/--no-golden",
            help="Include the golden sequence (30 frames, 2 to 6 MB) that `qlot verify` replays.",
            rich_help_panel="Output",
        ),
    ] = True,
    min_ios: Annotated[
        MinIOSName | None,
        typer.Option(help="Oldest iOS that runs the packages.", show_default="17", rich_help_panel="Core ML"),
    ] = None,
    image_input: Annotated[
        bool,
        typer.Option(
            "--image-input",
            help="The extractor takes a Core ML image (RGB, 8 bits a channel) in place of a float tensor.",
            rich_help_panel="Core ML",
        ),
    ] = False,
) -> None:
    """Export a QLOT checkpoint to a verified bundle.

    A bundle holds one graph per stage (extractor once per frame, refiner once per iteration), a manifest with all that
    an app needs to know, and a golden sequence. It is opened and replayed against float32 PyTorch before it is written;
    beyond the scheme's tolerance nothing is written.
    """
    from qlot.export.options import DEFAULTS, TargetOptions
    from qlot.export.request import ExportRequest

    several = target is TargetName.ALL
    options = TargetOptions(_PACKINGS.get(packing), _MIN_IOS.get(min_ios), image_input)
    requests = [
        ExportRequest(
            target=one,
            scheme=scheme_name(scheme, fp16, int8),
            checkpoint=checkpoint,
            layout=layout,
            unrolled=iterations,
            lowering=_LOWERINGS[lowering],
            calibration=calib,
            out=out / one if out and several else out,
            force=force,
            golden=golden,
            report=report / f"{one}.html" if report and several else report,
            # Of several targets, Core ML alone has options; a packing of all is refused before any begins.
            options=options if one == "coreml" or not several else replace(DEFAULTS, packing=options.packing),
        )
        for one in _TARGETS[target]
    ]
    console = Console(file=sys.stdout)  # this stream, also while what libraries print is kept off it
    if several:
        _export_each(console, requests)
        return
    with loading(), quiet():
        from qlot.export.pipeline import export as run
    with shown(console) as progress:
        result = run(requests[0], progress)
    _report(console, result)
    if report:
        console.print(f"report: {report}", highlight=False, soft_wrap=True)


def _export_each(console: Console, requests: Sequence[ExportRequest]) -> None:
    """Export for every target, then say what was written and what was not; the latter, if any, is an error."""
    with loading(), quiet():
        from qlot.export.all_targets import check_common, export_each

    def finished(outcome: Outcome) -> None:
        if outcome.result:
            console.print(f"\n{outcome.target}", style="bold")
            _report(console, outcome.result)

    check_common(requests[0])
    with shown(console) as progress:
        outcomes = export_each(requests, progress, finished)
    console.print()
    for outcome in outcomes:  # one line each, however narrow the terminal: reasons hold lines to copy
        console.print(f"{outcome.target:<8}{outcome.line}", highlight=False, markup=False, soft_wrap=True)
    failed = [o.target for o in outcomes if o.result is None]
    if failed:
        raise ExportError(f"{len(failed)} of {len(outcomes)} bundles were not written: {', '.join(failed)}.")


def scheme_name(scheme: SchemeName | None, fp16: bool, int8: bool) -> str:
    """Return the one scheme that was asked for, fp32 if none was.

    Raises:
        ExportError: two were.
    """
    chosen = [*([scheme.value] if scheme else []), *(["fp16"] if fp16 else []), *(["int8"] if int8 else [])]
    if len(chosen) > 1:
        raise ExportError(f"{' and '.join(chosen)} are two schemes: choose one.")
    return chosen[0] if chosen else "fp32"


def _report(console: Console, result: ExportResult) -> None:
    from qlot.export.parity.console import print_levels

    manifest, report = result.bundle.manifest, result.report
    if manifest.scheme.requested != manifest.scheme.name:
        console.print(f"--{manifest.scheme.requested} is scheme {manifest.scheme.name} (see `qlot inspect`)")
    if status := manifest.scheme.rules.get("status"):
        console.print(f"scheme {manifest.scheme.name} is {status}")
    if result.calibration:
        c = result.calibration
        console.print(f"calibration: {c.source}, {c.frames} frames, sha256 {c.sha256[:12]}...", highlight=False)
    table = Table("stage", "file", "MB", "MMAC", box=None, pad_edge=False)
    seen: set[str] = set()
    for name, stage in manifest.stages.items():
        size = sum(f.bytes for f in manifest.files if stage.holds(f.path))
        shown = "same" if stage.file in seen else f"{size / 1e6:.2f}"
        seen.add(stage.file)
        table.add_row(name, stage.file, shown, f"{stage.macs / 1e6:.1f}")
    console.print(table)
    print_levels(console, report)
    console.print(f"written: {result.bundle.path}", highlight=False, soft_wrap=True)


def commands(app: typer.Typer) -> None:
    """Register `export`."""
    app.command(
        epilog="Examples:\n\n"
        "- `qlot-export --target onnx`\n"
        "- `qlot-export --target coreml --int8`\n"
        "- `qlot-export --target onnx --int8 --calib my_clip.mp4 --layout eyes`\n"
        "- `qlot-export --target onnx --fp16 -c nano -o app/assets/qlot`\n"
        "- `qlot-export --target coreml --int8 --min-ios 18 --image-input`\n"
        "- `qlot-export --target all --int8 -o bundles`\n"
        "- `qlot-export --target tflite --packing single-file`"
    )(export)
