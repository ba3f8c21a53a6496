"""How work that takes seconds says what it is doing: a spinner on a terminal, a line for each thing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

Progress = Callable[[str], None]


@contextmanager
def shown(console: Console) -> Iterator[Progress]:
    """Yield the function to be told what is being done; on a terminal nothing of it stays when the block ends.

    Args:
        console: where it is shown; that of standard error, so that results can be redirected alone.
    """
    if console.is_terminal:
        with console.status("starting") as status:
            yield lambda text: status.update(text)
        return
    last = ""

    def line(text: str) -> None:
        nonlocal last
        if text != last:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        last = text

    yield line
