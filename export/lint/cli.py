"""The command `qlot lint`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qlot.runtime.cli.hints import show_next


def lint(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.", show_default=False)],
    device: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY",
            help="One family of devices: a12 to a16, a17-pro, a18, m1 to m4, adreno, mali, qualcomm-npu, cpu.",
            show_default="all that run the bundle's target",
        ),
    ] = None,
    engine_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="The version of ONNX Runtime that an app pins, such as 1.17: does it take the graphs?",
            show_default="none",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON instead.")] = False,
) -> None:
    """Predict what a bundle's graphs meet on a device: which unit takes what, and what will go wrong.

    Reads the files alone: no engine, no device, no network. Each finding names its rule and where the fact was read.
    Exits with 0 if none is an error, with 1 if one is, and with 2 if that cannot be told.
    """
    from qlot.export.lint.run import lint as run
    from qlot.export.lint.show import as_data, show
    from qlot.runtime.bundle.folder import Bundle

    console = Console()
    report = run(Bundle.open(bundle), device=device, engine_version=engine_version)
    if as_json:
        console.file.write(json.dumps(as_data(report), indent=1, allow_nan=False) + "\n")
    else:
        show(report, console)
        show_next(console, "lint", bundle=bundle)
    if report.failed:
        raise typer.Exit(1)


def commands(app: typer.Typer) -> None:
    """Register `lint`."""
    app.command(
        epilog="Examples:\n\n- `qlot lint bundle/`\n- `qlot lint bundle/ --device a17-pro`\n"
        "- `qlot lint bundle/ --engine-version 1.17 --json`"
    )(lint)
