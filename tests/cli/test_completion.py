"""Shell completion: commands and names, without what a command would load."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qlot.cli.main import run
from qlot.export.choices import checkpoint_names, layout_names
from qlot.model.layout import available_layouts
from qlot.model.weights import shipped_weights

HEAVY = ["torch", "cv2", "av", "matplotlib", "onnx", "onnxruntime", "coremltools"]
CODE = (
    "import sys\nfrom qlot.cli.main import run\ntry: run()\n"
    f"except SystemExit as e: print('code', e.code, 'loaded', [m for m in {HEAVY} if m in sys.modules])"
)


def completed(line: str) -> list[str]:
    """Ask as bash does, in a process of its own."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_QLOT_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    *found, last = done.stdout.splitlines()
    assert last == "code 0 loaded []", done.stderr
    return found


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("qlot in", {"inspect"}),
        ("qlot export --layout e", {"eyes"}),
        ("qlot export --checkpoint n", {"nano"}),
        ("qlot export --scheme pal", {"palette4", "palette6"}),
        ("qlot pack --as ", {"android", "swift", "web"}),
    ],
)
def test_words_are_completed_and_nothing_heavy_is_loaded(line: str, wanted: set[str]) -> None:
    if "export" in line:
        pytest.importorskip("torch")
    assert set(completed(line)) == wanted


def test_names_are_those_that_load() -> None:
    assert layout_names("") == sorted(available_layouts())
    assert checkpoint_names("") == sorted(shipped_weights())
    assert layout_names("no such") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_shown(shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Typer's own switch for tests: the shell is named, not found by the processes above, of which there may be none.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    with pytest.raises(SystemExit) as stop:
        run(["--show-completion", shell])
    assert stop.value.code == 0
    assert "_QLOT_COMPLETE" in capsys.readouterr().out
