"""What goes wrong at a user's: one clear line, an exit code, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qlot.assets import sample_clip
from qlot.cli.main import run_export
from qlot.model.weights import weights_path
from qlot.runtime.extras import pip_line
from qlot.runtime.media.video import VideoReader
from qlot.runtime.media.video_writer import VideoWriter


def one_frame() -> list[str]:
    with VideoWriter(Path("one.mp4")) as writer:
        frame = next(iter(VideoReader(sample_clip())))
        writer.write(frame.rgb, frame.timestamp)
    return ["-t", "onnx", "--int8", "--calib", "one.mp4", "-o", "new/out"]


def half_a_checkpoint() -> list[str]:
    whole = weights_path("nano").read_bytes()
    Path("half.safetensors").write_bytes(whole[: len(whole) // 2])
    return ["-t", "onnx", "-c", "half.safetensors", "-o", "new/out"]


def no_folder() -> list[str]:
    Path("file").write_text("")
    return ["-t", "onnx", "-o", "file/out"]


def read_only_folder() -> list[str]:
    Path("locked").mkdir(mode=0o500)
    return ["-t", "onnx", "-o", "locked/out"]


def not_a_disk() -> list[str]:
    return ["-t", "onnx", "-o", "/proc/out"]


Case = tuple[Callable[[], list[str]], str]
CASES: list[Case] = [
    (one_frame, "one.mp4 has 1 frames, calibration needs at least 32: use a longer clip."),
    (half_a_checkpoint, "half.safetensors is not a readable"),
    (no_folder, "cannot write beside"),
    (lambda: ["-t", "coreml"], f"target coreml needs coremltools: {pip_line('coreml')}"),
    (lambda: ["-t", "tflite"], f"target tflite needs litert_torch: {pip_line('tflite')}"),
    pytest.param(
        read_only_folder,
        "cannot write beside",
        marks=pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root writes anywhere"),
    ),
    pytest.param(
        not_a_disk, "cannot write beside", marks=pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
    ),
]


@pytest.mark.parametrize(("prepare", "message"), CASES)
def test_one_line_a_code_and_nothing_left(
    prepare: Callable[[], list[str]],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "coremltools", None)  # what an import of a missing package finds
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    arguments = prepare()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        run_export(arguments)
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and message in said.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_leaves_nothing_behind(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """In the middle: the temporary folder is there, and the work on it has begun."""
    temporary, here = tmp_path / "temporary", tmp_path / "here"
    temporary.mkdir()
    here.mkdir()
    command = [sys.executable, "-c", "from qlot.cli.main import run_export; run_export()"]
    run = subprocess.Popen(
        [*command, "-t", "onnx", "-c", "nano", "-o", "new/out"],
        cwd=here,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "tracking 120 parity frames in PyTorch\n"  # a line for each step, as it begins
    assert list(here.glob("new/.out.*/new"))
    run.send_signal(number)
    _, errors = run.communicate(timeout=120)
    assert (run.returncode, errors) == (code, "")
    assert list(here.iterdir()) == []
    assert {p.name for p in temporary.iterdir()} <= {".ses"}  # ONNX Runtime's own, one for all processes
