from __future__ import annotations

from io import StringIO

from rich.console import Console

from qlot.runtime.progress import shown


def test_elsewhere_than_on_a_terminal_each_thing_is_one_whole_line() -> None:
    out = StringIO()
    long = "[bold] is no markup" + ", and a long line is not broken" * 9
    with shown(Console(file=out, width=40)) as progress:
        for text in ("one", "one", long, "one"):
            progress(text)
    assert out.getvalue().splitlines() == ["one", long, "one"]


def test_on_a_terminal_the_last_thing_replaces_the_one_before() -> None:
    out = StringIO()
    with shown(Console(file=out, width=40, force_terminal=True)) as progress:
        progress("something slow")
    assert "\x1b[?25h" in out.getvalue()  # the cursor is given back
    assert "something slow" not in out.getvalue().splitlines()[-1]
