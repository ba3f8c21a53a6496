"""The command `qlot`: one front door to the commands of whichever rooms are installed."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import importlib.util
import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from qlot.runtime.errors import ParityError, QlotError
from qlot.runtime.extras import DISTRIBUTION, pip_line
from qlot.runtime.stopping import stoppable

ENGINES = ("onnxruntime", "ai-edge-litert", "coremltools", "torch")  # distributions


@dataclass(frozen=True)
class Room:
    """A module with a function `commands(app)`, and what its commands cannot do without."""

    module: str
    needs: str | None = None  # import name
    extra: str = ""  # the extra that installs it
    commands: tuple[str, ...] = ()


EXPORT = Room("qlot.export.cli", "torch", "export", ("export",))
BISECT = Room("qlot.export.bisect.cli", "torch", "export", ("bisect",))
LINT = Room("qlot.export.lint.cli")
SENSITIVITY = Room("qlot.export.sensitivity.cli", "torch", "export", ("sensitivity",))
TRAIN = Room("qlot.training.cli", "lightning_fabric", "train", ("train",))
EVAL = Room("qlot.training.evaluation.cli", "torch", "export", ("eval",))
BENCH = Room("qlot.benchmarks.cli")
JITTER = Room("qlot.benchmarks.jitter.cli", "moderngl", "train", ("jitter",))
ROOMS = (
    Room("qlot.runtime.cli.commands"),
    Room("qlot.cli.verify"),
    Room("qlot.export.support.cli"),
    EXPORT,
    BISECT,
    LINT,
    SENSITIVITY,
    TRAIN,
    EVAL,
    BENCH,
    JITTER,
)


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `qlot` and exit: 0 well, 1 out of parity, 2 an error of usage, bundle or file, 130 or 143 asked to stop."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name need not be text: standard error takes it as it is
        sys.stdout.reconfigure(errors="backslashreplace")
    app = _app("Export, verify, inspect and run QLOT face landmark bundles.")
    app.callback(no_args_is_help=True, epilog="Each command explains itself: `qlot COMMAND --help`")(_root)
    for room in ROOMS:
        if _found(room.module):
            _register(app, room)
    _exit_with(app, "qlot", arguments)


def run_export(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `qlot-export`, which is `qlot export`, and exit likewise."""
    if list(sys.argv[1:] if arguments is None else arguments) == ["--version"]:
        _show_versions()
        raise SystemExit(0)
    app = _app("")
    _register(app, EXPORT)  # a single command is run without naming it
    _exit_with(app, "qlot-export", arguments)


def _app(text: str) -> typer.Typer:
    return typer.Typer(help=text, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False


def _register(app: typer.Typer, room: Room) -> None:
    """Add a room's commands, or in place of each one that says what to install."""
    if room.needs is None or _found(room.needs):
        importlib.import_module(room.module).commands(app)
        return
    for command in room.commands:
        _register_missing(app, command, room.extra)


def _register_missing(app: typer.Typer, command: str, extra: str) -> None:
    line = f"qlot {command} needs the {extra} extra: {pip_line(extra)}"

    def missing() -> None:
        raise QlotError(line)

    missing.__name__ = command
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(command, help=f"(not installed) {line}", context_settings=anything, add_help_option=False)(missing)


def _versions(wanted: bool) -> None:
    if wanted:
        _show_versions()
        raise typer.Exit


def _show_versions() -> None:
    console = Console()
    for name in (DISTRIBUTION, *ENGINES):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        console.print(f"{name} {version}", highlight=False, markup=False)


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_versions, is_eager=True, help=f"Show the versions of {DISTRIBUTION} and the engines."
        ),
    ] = False,
) -> None:
    """Options of `qlot` itself."""


def _exit_with(app: typer.Typer, name: str, arguments: Sequence[str] | None) -> NoReturn:
    """Run a command line; the one place where errors become a line on stderr and an exit code."""
    try:
        with stoppable():
            app(None if arguments is None else list(arguments), prog_name=name)
    except QlotError as e:
        _complain(str(e))
        raise SystemExit(1 if isinstance(e, ParityError) else 2) from None
    except OSError as e:
        _complain(_of_system(e))
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(0)


def _of_system(error: OSError) -> str:
    """Say an error of the system with its place; of a full disk that names none, the folders are worth a look."""
    if error.filename:
        return f"{error.filename}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{error.strerror}, maybe in the folder for temporary files: {tempfile.gettempdir()}"
    return str(error)


def _complain(text: str) -> None:
    line = " ".join(f"error: {text}".split())
    Console(stderr=True).print(Text(line, style="red"), soft_wrap=True)
