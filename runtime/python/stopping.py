"""Ctrl-C and SIGTERM: a command that is asked to stop cleans up and exits with 128 and the signal's number.

Libraries swallow exceptions that reach them at a bad moment, above all while they load. So a request to stop ends the
process at once where nothing has been written yet (`loading`), and is remembered everywhere else (`check_stopped`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # no SIGHUP on Windows
_SHOW_CURSOR = b"\x1b[?25h"  # a spinner hides it


class Stopped(SystemExit):
    """The process was asked to stop; uncaught, it exits as shells have it: with 130 for Ctrl-C, 143 for SIGTERM.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(128 + number)
        self.number = number


class _Requests:
    """What this process was asked, and whether it is loading libraries."""

    asked: int | None = None
    loading = 0

    def note(self, number: int, _frame: FrameType | None) -> None:
        self.asked = number
        if self.loading:
            if sys.__stdout__ is not None and sys.__stdout__.isatty():
                os.write(1, _SHOW_CURSOR)
            os._exit(128 + number)
        raise Stopped(number)


_requests = _Requests()


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` for the signals that ask a process to end; those that it was started to ignore stay ignored."""
    _requests.asked = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _requests.note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def loading() -> Iterator[None]:
    """While libraries load, and nothing has been written yet, a request to stop ends the process at once."""
    _requests.loading += 1
    try:
        yield
    finally:
        _requests.loading -= 1


def check_stopped() -> None:
    """Raise `Stopped` if the process was asked to stop and something swallowed it."""
    if _requests.asked is not None:
        raise Stopped(_requests.asked)
