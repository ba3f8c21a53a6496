"""A run that is asked to end: Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


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


def exit_code(number: signal.Signals) -> int:
    """Return what a shell reports of a command that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + number
