"""How work that takes seconds says what it is doing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qlot.runtime.stopping import check_stopped

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[str], None]


@contextmanager
def shown(console: Console, first: str = "starting") -> Iterator[Progress]:
    """Yield what shows a step: on a terminal a line that changes, else, in a pipe or a file, a line for each step.

    A step is also where a request to stop counts that a library has swallowed.

    Raises:
        Stopped: the process was asked to stop.
    """
    if console.is_terminal:
        with console.status(first) as status:

            def change(text: str) -> None:
                check_stopped()
                status.update(text)

            yield change
        return
    said = ""

    def say(text: str) -> None:
        nonlocal said
        check_stopped()
        if text != said:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
            console.file.flush()
            said = text

    yield say
