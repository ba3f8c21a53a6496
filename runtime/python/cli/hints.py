"""What a user may want next: one dim line at the end of a command, on a terminal only.

Never in a pipe or a file, and so never in JSON: what scripts read does not change.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.text import Text

# Command -> the commands that are worth trying after it, BUNDLE and FOLDER filled in.
NEXT: dict[str, tuple[str, ...]] = {
    "export": ("qlot verify BUNDLE", "qlot inspect BUNDLE", "qlot pack BUNDLE --as android --out FOLDER"),
    "export --dry-run": ("the same line without --dry-run",),
    "verify": ("qlot track VIDEO --bundle BUNDLE", "qlot pack BUNDLE --as android --out FOLDER"),
    "verify --torch": ("qlot track VIDEO --bundle BUNDLE", "qlot pack BUNDLE --as android --out FOLDER"),
    "verify, out of parity": ("qlot bisect BUNDLE",),
    "inspect": ("qlot verify BUNDLE", "qlot track VIDEO --bundle BUNDLE"),
    "track": ("qlot inspect BUNDLE", "qlot verify BUNDLE"),
    "pack": ("read FOLDER/README.txt", "qlot inspect BUNDLE"),
    "targets": ("qlot export --target onnx --int8 --dry-run", "qlot export --help"),
    "lint": ("qlot inspect BUNDLE", "qlot verify BUNDLE"),
    "bisect": ("qlot verify BUNDLE --torch",),
    "bench host": ("qlot bench report FOLDER --out report", "qlot bench profile BUNDLE"),
    "bench report": ("qlot bench host BUNDLE",),
}


def show_next(console: Console, command: str, *, bundle: Path | None = None, folder: Path | None = None) -> None:
    """Print what may come after a command, if somebody is there to read it.

    Args:
        console: where the command wrote.
        command: a key of `NEXT`.
        bundle: takes the place of BUNDLE; None leaves the word.
        folder: likewise of FOLDER.
    """
    # FORCE_COLOR makes a console call itself a terminal; a file or a pipe is none for that.
    if not (console.is_terminal and console.file.isatty()):
        return
    places = {"BUNDLE": bundle, "FOLDER": folder}
    console.print(Text(f"next: {'; '.join(_filled(line, places) for line in NEXT[command])}", style="dim"))


def _filled(line: str, places: dict[str, Path | None]) -> str:
    for word, path in places.items():
        if path is not None:
            line = line.replace(word, shlex.quote(str(path)))
    return line
