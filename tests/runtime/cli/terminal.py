"""A console whose file says that it is a terminal, and keeps what is printed."""

from __future__ import annotations

import io

from rich.console import Console


class Screen(io.StringIO):
    """Text that a terminal would show."""

    def isatty(self) -> bool:
        return True


def on_terminal() -> tuple[Console, Screen]:
    screen = Screen()
    return Console(file=screen, width=200, force_terminal=True, color_system="standard"), screen
