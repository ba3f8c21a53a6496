from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qlot.cli.main import run, run_export
from qlot.runtime.extras import pip_line

HEAVY = ["torch", "cv2", "av", "matplotlib", "onnx", "onnxruntime", "coremltools"]


def code_of(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        run(arguments)
    assert isinstance(stop.value.code, int)
    return stop.value.code


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], *([c, "--help"] for c in ("track", "inspect", "pack", "verify", "targets", "lint"))]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom qlot.cli.main import run\ntry: run()\n"
        f"except SystemExit as e: print('code', e.code, 'loaded', [m for m in {HEAVY} if m in sys.modules])"
    )
    assert python(code, *arguments).stdout.strip().splitlines()[-1] == "code 0 loaded []"


def test_importing_a_body_would_be_seen() -> None:
    """The negative control of the test above."""
    code = f"import sys, qlot.runtime.cli.track\nprint([m for m in {HEAVY} if m in sys.modules])"
    assert {"cv2", "av", "matplotlib"} <= set(eval(python(code).stdout))


@pytest.mark.parametrize("command", ["track", "inspect", "pack", "verify", "targets", "bisect", "lint"])
def test_help_fits_80_columns_and_has_examples(command: str) -> None:
    done = python("from qlot.cli.main import run; run()", command, "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Examples:" in done.stdout and f"qlot {command} " in done.stdout.split("Examples:")[1]


def test_help_of_track_gives_units_and_defaults() -> None:
    text = " ".join(python("from qlot.cli.main import run; run()", "track", "--help").stdout.replace("│", " ").split())
    for part in (
        "--gate-radius PIXELS", "pixels of the network input; 0 switches it off. [default: (the bundle's)]",
        "--rotation DEGREES", "--seconds SECONDS", "[default: (the whole input)]", "[default: csv]", "[default: none]",
        "no display is needed", "Ctrl-C",
    ):  # fmt: skip
        assert part in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(["--version"]) == 0
    lines = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["qlot-mobile", "onnxruntime", "ai-edge-litert", "coremltools", "torch"]
    assert lines["qlot-mobile"][0].isdigit() and lines["onnxruntime"][0].isdigit()


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(["dance"]) == 2
    assert "No such command 'dance'" in capsys.readouterr().err
    assert code_of(["track"]) == 2
    assert "Missing" in capsys.readouterr().err


def test_without_arguments_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of([]) in (0, 2)  # which of the two depends on the version of typer
    said = capsys.readouterr()
    assert "Usage: qlot" in said.out + said.err and "inspect" in said.out + said.err


@pytest.mark.parametrize("command", [["inspect"], ["verify"], ["track", "x.mp4", "-b"]])
def test_bundle_errors_are_one_line(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of([*command, str(tmp_path / "a [very] long name " / ("x" * 100))]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("error: ") and "[very]" in said.err and "does not exist" in said.err


def test_errors_are_red_on_a_terminal_and_plain_elsewhere() -> None:
    code = "from qlot.cli.main import run; run(['inspect', 'nowhere'])"
    assert python(code).stderr == "error: nowhere does not exist\n"
    forced = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"FORCE_COLOR": "1", "TERM": "xterm"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=forced, check=False)
    assert "\x1b[31m" in done.stderr


NO_TORCH = "import sys; sys.modules['torch'] = None\n"  # what an import of a missing package finds


def test_export_without_torch_says_what_to_install() -> None:
    code = NO_TORCH + "from qlot.cli.main import run; run()"
    done = python(code, "export", "--target", "onnx", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: qlot export needs the export extra: {pip_line('export')}\n"
    overview = python(code, "--help").stdout
    assert "(not installed)" in overview and "inspect" in overview
    done = python(NO_TORCH + "from qlot.cli.main import run_export; run_export()", "--target", "onnx")
    assert done.returncode == 2 and pip_line("export") in done.stderr


def test_train_without_its_extra_says_what_to_install() -> None:
    """The export extra alone has torch, and is not enough."""
    code = "import sys; sys.modules['lightning_fabric'] = None\nfrom qlot.cli.main import run; run()"
    done = python(code, "train", "nano", "--data", "x", "--out", "y")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: qlot train needs the train extra: {pip_line('train')}\n"


def test_export_with_torch_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert code_of(["export", "--help"]) == 0
    assert "not installed" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        run_export(["--help"])
    assert stop.value.code == 0
    assert "Usage: qlot-export [OPTIONS]" in capsys.readouterr().out


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """As in `qlot --help | head -1`."""
    shell = f"{sys.executable} -c 'from qlot.cli.main import run; run()' track --help | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
