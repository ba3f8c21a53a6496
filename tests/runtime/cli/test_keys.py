from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qlot.runtime.cli.keys import KeyWatcher

pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

# A child with the terminal as its own, as a shell would start it.
CHILD = """
import fcntl, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from qlot.runtime.cli.keys import KeyWatcher
try:
    with KeyWatcher() as keys:
        print("ready", flush=True)
        while "q" not in keys.pressed():
            time.sleep(0.01)
        print("seen", flush=True)
        {then}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


class Terminal:
    """A pseudo-terminal with a child on it."""

    def __init__(self, then: str = "pass") -> None:
        self.master, self.slave = os.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(then=then)],
            stdin=self.slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True,
        )  # fmt: skip
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.child.stdout is not None
        assert select.select([self.child.stdout], [], [], 20)[0], "the child says nothing"
        return self.child.stdout.readline().strip()

    def close(self) -> None:
        self.child.kill()
        self.child.communicate()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal() -> object:
    opened: list[Terminal] = []

    def open_terminal(then: str = "pass") -> Terminal:
        opened.append(Terminal(then))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


Open = Callable[..., Terminal]


def test_a_key_is_seen_without_enter_and_without_echo(terminal: Open) -> None:
    t = terminal()
    local = termios.tcgetattr(t.slave)[3]
    assert not local & termios.ICANON and not local & termios.ECHO and local & termios.ISIG
    os.write(t.master, b"abc")
    os.write(t.master, b"q")
    assert t.line() == "seen"
    assert t.child.wait(20) == 0
    assert not select.select([t.master], [], [], 0.1)[0], "nothing was echoed"
    assert termios.tcgetattr(t.slave) == t.before


def test_other_keys_do_nothing(terminal: Open) -> None:
    t = terminal()
    os.write(t.master, b"xyz\x1b[A")
    time.sleep(0.1)
    assert t.child.poll() is None


@pytest.mark.parametrize("then", ["raise SystemExit(3)", "raise ValueError", "sys.exit(0)"])
def test_the_terminal_is_restored_after_an_error(terminal: Open, then: str) -> None:
    t = terminal(then)
    os.write(t.master, b"q")
    t.child.wait(20)
    assert termios.tcgetattr(t.slave) == t.before


def test_the_terminal_is_restored_after_ctrl_c(terminal: Open) -> None:
    t = terminal()
    os.write(t.master, b"\x03")
    assert t.line() == "interrupted"
    t.child.wait(20)
    assert termios.tcgetattr(t.slave) == t.before


def test_no_terminal_no_keys(tmp_path: Path) -> None:
    code = "from qlot.runtime.cli.keys import KeyWatcher\nwith KeyWatcher() as keys: print(repr(keys.pressed()))"
    done = subprocess.run([sys.executable, "-c", code], input="q", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "''"


def test_outside_the_block_nothing_is_read() -> None:
    assert KeyWatcher().pressed() == ""
