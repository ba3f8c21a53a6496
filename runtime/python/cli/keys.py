"""Keys typed in the terminal while a command runs."""

from __future__ import annotations

import os
import select
import sys
from types import TracebackType
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
