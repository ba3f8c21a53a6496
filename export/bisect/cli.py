"""The command `qlot bisect`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qlot.runtime.cli.hints import show_next
from qlot.runtime.progress import shown
from qlot.runtime.quiet import quiet
from qlot.runtime.stopping import loading


def bisect(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.", show_default=False)],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="FILE_OR_NAME",
            help="What the bundle was exported from.",
            show_default="the shipped weights of the bundle's preset",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="New folder for what is found.", show_default="BUNDLE-bisect"
        ),
    ] = None,
) -> None:
    """Find the first call of a bundle's graphs that strays from float32 PyTorch beyond its bound.

    Extractor and refiner get PyTorch's own inputs, call by call, over 120 frames of the sample clip. Bounds are those
    of `qlot verify --torch` for each stage alone. The call's inputs and both answers are saved.

    Exits with 1 if something is found, with 0 if not, and with 2 if that cannot be told.
    """
    from qlot.runtime.bundle.folder import Bundle
    from qlot.runtime.errors import ParityError

    console = Console(file=sys.stdout)  # this stream, also while what libraries print is kept off it
    opened = Bundle.open(bundle)
    folder = out or Path(f"{bundle.resolve().name}-bisect")
    with loading(), quiet():
        from qlot.export.bisect import run, saved
    saved.check_free(folder, bundle)
    with shown(console) as progress:
        progress("running PyTorch and the bundle, call by call, over 120 frames")
        found = run.bisect(opened, checkpoint)
    if found is None:
        console.print("no call of extractor or refiner is beyond its bound", style="green")
        show_next(console, "bisect", bundle=bundle)
        return
    saved.save(found, folder, bundle)
    console.print(f"saved: {folder}", highlight=False, soft_wrap=True)
    raise ParityError(f"{saved.sentence(found)} ({found.engine})")


def commands(app: typer.Typer) -> None:
    """Register `bisect`."""
    app.command(epilog="Examples:\n\n- `qlot bisect bundle/`\n- `qlot bisect bundle/ -c my.safetensors -o found`")(
        bisect
    )
