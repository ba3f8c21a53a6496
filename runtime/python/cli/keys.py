"""End a running command gracefully: a key typed in the terminal, or Ctrl-C."""

from __future__ import annotations

import os
import select
import signal
import sys
from types import FrameType, TracebackType
from typing import Any

try:
    import termios
    import tty
except ImportError:  # Windows has no termios; Ctrl-C works everywhere
    POSIX = False
else:
    POSIX = True


class KeyWatcher:
    """Reads keys without waiting for Enter and without echo while in the block; afterwards the terminal is as before.

    Where standard input is no terminal (a pipe, a service) or the system has no termios, no key is ever seen.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._saved: list[Any] = []

    def __enter__(self) -> KeyWatcher:
        if POSIX and sys.stdin is not None and sys.stdin.isatty() and _in_foreground(sys.stdin.fileno()):
            self._fd = sys.stdin.fileno()
            self._saved = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._fd is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
            self._fd = None

    def pressed(self) -> str:
        """Return what was typed since the last call, without waiting."""
        typed = b""
        while self._fd is not None and select.select([self._fd], [], [], 0)[0]:
            chunk = os.read(self._fd, 64)
            if not chunk:  # the terminal is gone
                break
            typed += chunk
        return typed.decode("ascii", "ignore")


def _in_foreground(fd: int) -> bool:
    """Tell whether this process may touch the terminal; the system halts a background job that does."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # a terminal, but of another session
        return False


class StopRequest:
    """Turns the first Ctrl-C (or SIGTERM) in the block into `made`, so that files can be finished.

    A second one interrupts at once, as usual.
    """

    def __init__(self) -> None:
        self.made = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.made = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
