from __future__ import annotations

import io

from rich.console import Console

from qlot.runtime.progress import shown


def test_in_a_pipe_each_step_is_a_line_said_once() -> None:
    console = Console(file=(out := io.StringIO()), width=20)
    with shown(console) as progress:
        for text in ("one", "one", "two [bold] and more than a line of this width"):
            progress(text)
            assert out.getvalue().endswith(f"{text}\n")
    assert out.getvalue() == "one\ntwo [bold] and more than a line of this width\n"


def test_on_a_terminal_a_line_changes() -> None:
    console = Console(file=(out := io.StringIO()), force_terminal=True, width=60)
    with shown(console) as progress:
        progress("converting")
        assert out.getvalue().count("\n") <= 1
    assert out.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in out.getvalue()
