"""Asked to stop, a process stops: whatever swallows the exception, and with the code that shells expect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")

PREPARE = """
import signal, sys, time
from contextlib import suppress
from qlot.runtime.stopping import check_stopped, loading, stoppable
"""


def stopped(body: str, number: signal.Signals) -> tuple[int, str]:
    """Run code until it says `ready`, send it a signal, and return its exit code and what it said then."""
    run = subprocess.Popen([sys.executable, "-u", "-c", PREPARE + body], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    run.send_signal(number)
    out, _ = run.communicate(timeout=60)
    return run.returncode, out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_cleans_up_and_gives_its_code(number: signal.Signals, code: int) -> None:
    body = "with stoppable():\n try:\n  print('ready'); time.sleep(60)\n finally: print('cleaned')"
    assert stopped(body, number) == (code, "cleaned\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_a_library_swallows_counts_at_the_next_step(number: signal.Signals, code: int) -> None:
    body = (
        "with stoppable():\n with suppress(BaseException):\n  print('ready'); time.sleep(60)\n"
        " print('goes on'); check_stopped(); print('never')"
    )
    assert stopped(body, number) == (code, "goes on\n")


def test_while_libraries_load_nothing_can_swallow_it() -> None:
    body = (
        "with stoppable():\n with loading(), suppress(BaseException):\n"
        "  print('ready'); time.sleep(60)\n print('never')"
    )
    assert stopped(body, signal.SIGINT) == (130, "")


def test_an_ignored_signal_stays_ignored() -> None:
    """As for a command that `nohup` started."""
    body = (
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with stoppable():\n print('ready'); time.sleep(0.5)\nprint('done')"
    )
    assert stopped(body, signal.SIGHUP) == (0, "done\n")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_ctrl_c_while_pytorch_loads_ends_the_real_command(tmp_path: Path) -> None:
    command = "from qlot.cli.main import run_export; run_export()"
    run = subprocess.Popen(
        [sys.executable, "-c", command, "-t", "onnx", "-o", "new/out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "libtorch" not in Path(f"/proc/{run.pid}/maps").read_text():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    out, errors = run.communicate(timeout=60)
    assert (run.returncode, out, errors) == (130, "", "")
    assert list(tmp_path.iterdir()) == []
