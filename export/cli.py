"""The command `qlot export`, which is also `qlot-export`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qlot.export.choices import (
    LOWERINGS,
    MIN_IOS,
    PACKINGS,
    TARGETS,
    LoweringName,
    MinIOSName,
    PackingName,
    SchemeName,
    TargetName,
    checkpoint_names,
    layout_names,
)
from qlot.export.errors import ExportError
from qlot.runtime.cli.hints import show_next
from qlot.runtime.progress import shown
from qlot.runtime.quiet import quiet
from qlot.runtime.stopping import loading

if TYPE_CHECKING:
    from qlot.export.all_targets import Outcome
    from qlot.export.request import ExportRequest, ExportResult


def export(
    context: typer.Context,
    target: Annotated[
        TargetName | None,
        typer.Option(
            "--target",
            "-t",
            help="Runtime to export for: onnx (ONNX Runtime); tflite (LiteRT, extra `tflite`); coreml (iOS and macOS, "
            "extra `coreml`); all of them, one bundle each, going on past one that fails.",
            show_default=False,
        ),
    ] = None,
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
            autocompletion=checkpoint_names,
            help="Our .safetensors, the published .pth, or the name of shipped weights: base (160 px input), "
            "nano (112 px, for slow phones).",
            rich_help_panel="Model",
        ),
    ] = "base",
    layout: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_FILE",
            autocompletion=layout_names,
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
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check all that can be checked without converting, say what would be written, and write nothing.",
            rich_help_panel="Output",
        ),
    ] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Repeat the export of this recipe. Beside it only --out, --report, --force and --dry-run are taken.",
            show_default="none",
            rich_help_panel="Recipe",
        ),
    ] = None,
    save_recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write every choice, with hashes and versions, as a recipe.",
            show_default="none",
            rich_help_panel="Recipe",
        ),
    ] = None,
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

    console = Console(file=sys.stdout)  # this stream, also while what libraries print is kept off it
    if recipe is not None:
        _check_alone(context)
        with loading(), quiet():
            from qlot.export.recipe import request_of
        request, changed = request_of(recipe, out, force, report)
        if changed:
            Console(stderr=True).print(Text(f"warning: {changed}", style="yellow"), soft_wrap=True)
        _run(console, [request], several=False, dry_run=dry_run, save_recipe=None)
        return
    if target is None:
        raise ExportError("export for what? Add --target onnx, tflite, coreml or all; or --recipe FILE.")
    several = target is TargetName.ALL
    options = TargetOptions(PACKINGS.get(packing), MIN_IOS.get(min_ios), image_input)
    requests = [
        ExportRequest(
            target=one,
            scheme=scheme_name(scheme, fp16, int8),
            checkpoint=checkpoint,
            layout=layout,
            unrolled=iterations,
            lowering=LOWERINGS[lowering],
            calibration=calib,
            out=out / one if out and several else out,
            force=force,
            golden=golden,
            report=report / f"{one}.html" if report and several else report,
            # Of several targets, Core ML alone has options; a packing of all is refused before any begins.
            options=options if one == "coreml" or not several else replace(DEFAULTS, packing=options.packing),
        )
        for one in TARGETS[target]
    ]
    if save_recipe and several:
        raise ExportError("a recipe is of one target: leave --save-recipe out, or choose one with --target.")
    _run(console, requests, several=several, dry_run=dry_run, save_recipe=save_recipe)


def _run(
    console: Console, requests: Sequence[ExportRequest], *, several: bool, dry_run: bool, save_recipe: Path | None
) -> None:
    """Export, or try to, and say what came of it."""
    if dry_run:
        if save_recipe:
            raise ExportError("--dry-run writes nothing, and no recipe: leave --save-recipe out.")
        with loading(), quiet():
            from qlot.export.dry_run import print_plans
        print_plans(console, requests)
        show_next(console, "export --dry-run")
        return
    if several:
        _export_each(console, requests)
        return
    (request,) = requests
    with loading(), quiet():
        from qlot.export import recipe
        from qlot.export.pipeline import export as run
    if save_recipe:
        recipe.check_place(save_recipe, request)
    with shown(console) as progress:
        result = run(request, progress)
    _report(console, result)
    if request.report:
        console.print(f"report: {request.report}", highlight=False, soft_wrap=True)
    if save_recipe:
        recipe.save(save_recipe, request, result)
        console.print(f"recipe: {save_recipe}", highlight=False, soft_wrap=True)
    show_next(console, "export", bundle=result.bundle.path)


def _check_alone(context: typer.Context) -> None:
    """Refuse options beside --recipe that it answers itself."""
    given = [
        p.opts[0]
        for p in context.command.params
        if p.name and getattr(context.get_parameter_source(p.name), "name", "") == "COMMANDLINE"
    ]
    taken = {"--recipe", "--out", "--report", "--force", "--dry-run"}
    if others := [flag for flag in given if flag not in taken]:
        raise ExportError(f"--recipe answers {' and '.join(others)} itself: leave one or the other out.")


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
    from qlot.export.lint.summary import print_summary
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
    print_summary(console, result.bundle)


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
        "- `qlot-export --target tflite --packing single-file`\n"
        "- `qlot-export --target onnx --int8 --dry-run`\n"
        "- `qlot-export --recipe app.toml -o app/assets/qlot`"
    )(export)
