"""The line of next steps: on a terminal, never in a pipe, and only of commands and options that there are."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer.main
from onnx import numpy_helper
from rich.console import Console

from qlot.cli import main
from qlot.cli import verify as command
from qlot.runtime.cli.hints import NEXT, show_next
from qlot.runtime.errors import ParityError
from tests.runtime.bundles import edit_manifest, rehash, write_bundle
from tests.runtime.cli.running import qlot
from tests.runtime.cli.terminal import on_terminal


def test_one_dim_line_with_the_places_filled_in() -> None:
    console, screen = on_terminal()
    show_next(console, "export", bundle=Path("my bundle"))
    assert screen.getvalue() == (
        "\x1b[2mnext: qlot verify 'my bundle'; qlot inspect 'my bundle'; "
        "qlot pack 'my bundle' --as android --out FOLDER\x1b[0m\n"
    )


@pytest.mark.parametrize("forced", [True, False])
def test_nothing_where_nobody_reads(forced: bool) -> None:
    """FORCE_COLOR makes of every console a terminal; a pipe stays one."""
    file = io.StringIO()
    show_next(Console(file=file, force_terminal=forced), "export", bundle=Path("b"))
    assert file.getvalue() == ""


def test_a_pipe_gets_no_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bundle(tmp_path / "b")
    for arguments in (["verify", folder], ["inspect", folder], ["targets"]):
        assert qlot(*arguments) == 0
        assert "next:" not in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals")
@pytest.mark.parametrize(("options", "hinted"), [([], True), (["--json"], False)])
def test_of_a_real_terminal(options: list[str], hinted: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    code = f"from qlot.cli.main import run; run(['targets', *{options!r}])"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert child.wait(timeout=60) == 0
    assert (b"next: qlot export" in said) is hinted


def test_every_hint_is_a_command_with_options_that_it_has() -> None:
    app = typer.Typer()
    for room in main.ROOMS:
        if main._found(room.module) and (room.needs is None or main._found(room.needs)):
            main._register(app, room)
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = [line for lines in NEXT.values() for line in lines if line.startswith("qlot ")]
    assert len(lines) > 10
    for line in lines:
        _, name, *words = line.split()
        if name not in commands:  # of an extra that is not installed
            continue
        command = commands[name]
        if hasattr(command, "commands"):  # a group: its command comes next
            command = command.commands[words.pop(0)]
        known = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)} | {"--help"}
        assert {w for w in words if w.startswith("--")} <= known, line


def test_a_failed_verification_says_how_to_find_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle(tmp_path / "b")
    edit_manifest(folder, lambda m: m["golden"].update(tolerance={"px": 1e-9, "log_sigma": 1e-9}))
    disturb(folder)
    console, screen = on_terminal()
    monkeypatch.setattr(command, "Console", lambda **_: console)
    with pytest.raises(ParityError):
        command.verify(folder)
    assert f"next: qlot bisect {folder}" in screen.getvalue()


def disturb(folder: Path) -> None:
    """Exchange a weight, as damage that the hashes do not show."""
    path = folder / "refiner.onnx"
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if t.name == "k_displacement")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
    onnx.save(model, path)
    rehash(folder)
