"""The command `qlot verify`: the runtime's golden replay, and with the export room also PyTorch itself."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qlot.runtime.errors import ParityError, QlotError
from qlot.runtime.extras import pip_line
from qlot.runtime.progress import shown
from qlot.runtime.quiet import quiet
from qlot.runtime.stopping import loading


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.", show_default=False)],
    torch: Annotated[
        bool,
        typer.Option(
            "--torch",
            help="Run PyTorch beside the bundle over 120 frames of the sample clip, instead of the golden sequence "
            "(30 frames): each stage alone, the free run, the task. Needs the export extra.",
        ),
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="FILE_OR_NAME",
            help="With --torch: what the bundle was exported from.",
            show_default="the shipped weights of the bundle's preset",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --torch: also write one HTML page.", show_default="none"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Without --torch: threads of the inference engine.", show_default="1"),
    ] = None,
) -> None:
    """Run a bundle free over recorded frames on this machine and compare with float32 PyTorch.

    Exits with 0 if every landmark stays within the tolerance of the bundle's scheme at every step, with 1 if not, and
    with 2 if that cannot be told.
    """
    from qlot.runtime.cli import verify as verify_cli
    from qlot.runtime.cli.hints import show_next

    console = Console(file=sys.stdout)  # this stream, also while what libraries print is kept off it
    if report and not torch:
        raise QlotError("--report needs --torch: the report holds the bundle against PyTorch.")
    if checkpoint is not None and not torch:
        raise QlotError("--checkpoint needs --torch: the golden sequence is compared without any checkpoint.")
    if threads is not None and torch:
        raise QlotError("--threads is for the golden replay: leave it out, or leave --torch out.")
    if not torch:
        with _traced(console, bundle):
            verify_cli.verify(bundle, console, threads or 1)
        show_next(console, "verify", bundle=bundle)
        return
    if importlib.util.find_spec("torch") is None:
        raise QlotError(f"qlot verify --torch needs the export extra: {pip_line('export')}")
    from qlot.runtime.bundle.folder import Bundle

    opened = Bundle.open(bundle)
    with loading(), quiet():
        verification = importlib.import_module("qlot.export.verify")
    with shown(console) as progress:
        progress("running PyTorch over 120 frames")
        levels = verification.verify_against_torch(opened, checkpoint, report)
    verification.print_levels(console, levels)
    with _traced(console, bundle):
        levels.check()
    console.print("passed", style="green")
    show_next(console, "verify --torch", bundle=bundle)


@contextmanager
def _traced(console: Console, bundle: Path) -> Iterator[None]:
    """Say, where parity fails, how its place is found."""
    from qlot.runtime.cli.hints import show_next

    try:
        yield
    except ParityError:
        show_next(console, "verify, out of parity", bundle=bundle)
        raise


def commands(app: typer.Typer) -> None:
    """Register `verify`."""
    app.command(epilog="Examples:\n\n- `qlot verify bundle/`\n- `qlot verify bundle/ --torch`")(verify)
