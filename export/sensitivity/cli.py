"""The command `qlot sensitivity`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from qlot.runtime.quiet import quiet
from qlot.runtime.stopping import loading

if TYPE_CHECKING:
    from qlot.export.sensitivity.measure import QuantisedScheme


class MeasuredScheme(StrEnum):
    """Schemes that quantise groups of modules."""

    W8 = "w8"
    W8A8 = "w8a8"


_SCHEMES: dict[MeasuredScheme | None, tuple[QuantisedScheme, ...]] = {
    None: ("w8", "w8a8"),
    MeasuredScheme.W8: ("w8",),
    MeasuredScheme.W8A8: ("w8a8",),
}


def sensitivity(
    scheme: Annotated[
        MeasuredScheme | None,
        typer.Option(
            help="w8: weights int8; w8a8: weights and activations int8, calibrated.", show_default="one after the other"
        ),
    ] = None,
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="FILE_OR_NAME",
            help="Our .safetensors, the published .pth, or the name of shipped weights: base, nano.",
        ),
    ] = "base",
    layout: Annotated[
        str, typer.Option(metavar="NAME_OR_FILE", help="Landmarks to track, as for `qlot export`.")
    ] = "wflw98",
    calib: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO_OR_DIR",
            help="w8a8: calibrate on this video or image folder: one face throughout, 32 to 600 frames of it.",
            show_default="100 frames of the built-in clip",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Also write the table as JSON.", show_default="none"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing JSON file.")] = False,
) -> None:
    """Measure what each group of modules costs when it alone is quantised.

    Everything else stays float32; the graphs run in ONNX Runtime over the parity clip beside float32 PyTorch. Tens of
    minutes.
    """
    with loading(), quiet():
        from qlot.export.sensitivity.run import SensitivityRequest, run

    run(SensitivityRequest(_SCHEMES[scheme], checkpoint, layout, calib, out, force), Console(file=sys.stdout))


def commands(app: typer.Typer) -> None:
    """Register `sensitivity`."""
    app.command(epilog="Examples:\n\n- `qlot sensitivity -o costs.json`\n- `qlot sensitivity --scheme w8a8 -c nano`")(
        sensitivity
    )
