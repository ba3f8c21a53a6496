"""Ctrl-C and SIGTERM: a command that is asked to stop cleans up and exits with 128 and the signal's number.

Libraries swallow exceptions that reach them at a bad moment, above all while they load. So a request to stop ends the
process at once where nothing has been written yet (`loading`), and is remembered everywhere else (`check_stopped`).
Work that can be saved half-way takes it as a request instead (`StopRequest`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

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
        super().__init__(exit_code(number))
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
            os._exit(exit_code(number))
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


class StopRequest:
    """Takes the first Ctrl-C or SIGTERM in the block as a request, so that work can be saved.

    A second Ctrl-C interrupts at once, as usual; a second SIGTERM changes nothing: schedulers send more than one.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def made(self) -> bool:
        """Whether the run is asked to end."""
        return self.signal is not None

    def __enter__(self) -> StopRequest:
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.made and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number)


def exit_code(number: int) -> int:
    """Return what a shell reports of a command that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + number
