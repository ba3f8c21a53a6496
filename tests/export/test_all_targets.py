"""`--target all`: one process per target, one line per outcome, whatever happens to each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qlot.cli.main import run_export
from qlot.export import all_targets as matrix
from qlot.export.all_targets import Outcome, export_apart, export_each
from qlot.export.request import ExportRequest
from qlot.runtime import Bundle
from qlot.runtime.extras import pip_line
from qlot.runtime.progress import Progress

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")

# A child as `serve` is one, with `say` for its answers, and made-up work in place of an export.
CHILD = """
import os, pickle, signal, sys, time
from pathlib import Path
from qlot.export.all_targets import Outcome
sys.stdin.buffer.read()
def say(answer):
    pickle.dump(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def does(code: str) -> None:
        monkeypatch.setattr(matrix, "_CHILD", (sys.executable, "-c", CHILD + code))

    return does


def leaves(folder: Path) -> str:
    """Return the code of a child that has begun to write."""
    return f"Path({str(folder)!r}, 'new').mkdir(parents=True); say(str(os.getpid()))\n"


def test_progress_and_outcome_come_back(child: Callable[[str], None]) -> None:
    child("say('one'); say('two'); say(Outcome('tflite', None, 'rain'))")
    heard: list[str] = []
    assert export_apart(ExportRequest("tflite"), heard.append) == Outcome("tflite", None, "rain")
    assert heard == ["tflite: one", "tflite: two"]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was ended by SIGKILL (out of memory?)"),
        (
            "os.write(1, pickle.dumps('x' * 1000)[:500]); os._exit(7)",
            "its process ended without an answer (exit code 7)",
        ),
    ],
)
def test_a_child_that_dies_is_an_outcome_and_leaves_nothing(
    child: Callable[[str], None], end: str, reason: str, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "folders" / "onnx"
    child(leaves(out.with_name(".onnx.abc")) + end)
    assert export_apart(ExportRequest("onnx", out=out), lambda _: None) == Outcome("onnx", None, reason)
    assert list(tmp_path.iterdir()) == []


def test_what_others_keep_beside_it_stays(child: Callable[[str], None], tmp_path: Path) -> None:
    for name in (".onnx.before", ".tflite.abc", "onnx"):
        (tmp_path / name).mkdir()
    child(leaves(tmp_path / ".onnx.abc") + "os._exit(1)")
    export_apart(ExportRequest("onnx", out=tmp_path / "onnx"), lambda _: None)
    assert {p.name for p in tmp_path.iterdir()} == {".onnx.before", ".tflite.abc", "onnx"}


@pytest.mark.parametrize("stubborn", [False, True])
def test_an_interruption_ends_the_child_and_leaves_nothing(
    child: Callable[[str], None], stubborn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "PATIENCE", 0.5 if stubborn else 60)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    child(ignore + leaves(tmp_path / ".onnx.abc") + "time.sleep(600)")
    started: list[int] = []

    def interrupt(text: str) -> None:
        started.append(int(text.removeprefix("onnx: ")))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_each([ExportRequest(t, out=tmp_path / t) for t in ("onnx", "tflite")], interrupt)
    assert len(started) == 1  # and the second never began
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_export_is_one_line(tmp_path: Path) -> None:
    """The real child, on what the pipeline refuses."""
    outcome = export_apart(ExportRequest("onnx", layout="none\nsuch", out=tmp_path / "onnx"), lambda _: None)
    assert outcome.result is None and outcome.line.startswith("not written: ")
    assert "none" in outcome.reason and "wflw98" in outcome.reason and "\n" not in outcome.reason
    assert list(tmp_path.iterdir()) == []


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        run_export(["--target", "all", *arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def fail(reasons: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[ExportRequest]:
    """Let every export end with its reason; return where the requests will be listed."""
    requests: list[ExportRequest] = []

    def apart(request: ExportRequest, _: Progress) -> Outcome:
        requests.append(request)
        return Outcome(request.target, None, reasons[request.target])

    monkeypatch.setattr(matrix, "export_apart", apart)
    return requests


REASONS = {
    "onnx": "the sky is too low",
    "tflite": f"target tflite needs litert_torch: {pip_line('tflite')}",
    "coreml": "a reason so long that no terminal holds it on one line, " * 3 + "which is not broken all the same",
}


def test_every_target_is_tried_and_every_reason_stands_on_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    requests = fail(REASONS, monkeypatch)
    assert command("--int8", "--layout", "eyes", "--out", str(tmp_path / "o"), "--force") == 2
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [x for x in lines if x] == [f"{t:<8}not written: {r}" for t, r in REASONS.items()]
    assert said.err == "error: 3 of 3 bundles were not written: onnx, tflite, coreml.\n"
    assert [(r.target, r.out) for r in requests] == [(t, tmp_path / "o" / t) for t in REASONS]
    assert {(r.scheme, r.layout, r.force) for r in requests} == {("int8", "eyes", True)}


def test_without_a_place_each_bundle_is_named_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = fail(REASONS, monkeypatch)
    command()
    assert [r.out for r in requests] == [None, None, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lowering", "windowed"], "--lowering windowed is for onnx alone: leave it out, or choose --target onnx."),
        (["--checkpoint", "nowhere.pth"], "no checkpoint file 'nowhere.pth'"),
        (["--layout", "wflw99"], "wflw99"),
        (["--fp16", "--int8"], "fp16 and int8 are two schemes"),
    ],
)
def test_what_concerns_all_targets_is_said_once(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = fail(REASONS, monkeypatch)
    assert command(*arguments) == 2
    said = capsys.readouterr()
    assert (said.out.strip(), requests) == ("", [])
    assert said.err.startswith("error: ") and message in said.err


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Run `--target all` where the converters of tflite and coreml are not installed."""
    absent = "import sys; sys.modules.update(litert_torch=None, coremltools=None)\n"
    (folder / "sitecustomize.py").write_text(absent)
    return subprocess.Popen(
        [sys.executable, "-c", "from qlot.cli.main import run_export; run_export()", "--target", "all", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_with_one_converter_installed_one_bundle_is_written(tmp_path: Path) -> None:
    run = start(tmp_path, "--layout", "eyes", "--no-golden", "--out", "bundles")
    out, errors = run.communicate(timeout=1200)
    assert run.returncode == 2
    assert errors == "error: 2 of 3 bundles were not written: tflite, coreml.\n"
    written, *missing = out.splitlines()[-3:]
    assert written.startswith("onnx    written: ") and written.endswith(str(tmp_path / "bundles" / "onnx"))
    assert missing[0] == f"tflite  not written: {REASONS['tflite']}"
    assert missing[1].startswith("coreml  not written: ")
    assert [p.name for p in (tmp_path / "bundles").iterdir()] == ["onnx"]
    assert Bundle.open(tmp_path / "bundles" / "onnx").manifest.target == "onnx"


@pytest.mark.slow
def test_ctrl_c_ends_all_of_it_and_leaves_nothing(tmp_path: Path) -> None:
    run = start(tmp_path, "--out", "bundles")
    deadline = time.monotonic() + 120
    while not (tmp_path / "bundles").is_dir():
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=600)  # also waits for the child, which holds the same error stream
    assert (run.returncode, errors) == (130, "")
    assert [p.name for p in tmp_path.iterdir()] == ["sitecustomize.py"]
