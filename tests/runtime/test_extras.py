from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from qlot.runtime.extras import pip_line


class Installed:
    def __init__(self, record: object) -> None:
        self.record = record

    def read_text(self, name: str) -> str | None:
        return None if self.record is None or name != "direct_url.json" else json.dumps(self.record)


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ({"url": "file:///src/qlot", "dir_info": {"editable": True}}, "pip install -e '/src/qlot[export]'"),
        ({"url": "file:///src/my%20qlot", "dir_info": {}}, "pip install '/src/my qlot[export]'"),
        ({"url": "file:///dist/qlot-1-py3.whl", "archive_info": {}}, "pip install '/dist/qlot-1-py3.whl[export]'"),
        ({"url": "https://x.org/q.whl", "archive_info": {}}, "pip install 'qlot-mobile[export] @ https://x.org/q.whl'"),
        (None, "pip install 'qlot-mobile[export]'"),  # from an index: there, the name is this project's
    ],
)
def test_the_line_is_for_what_it_was_installed_from(record: object, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leftovers = Installed(None)  # of a build, beside the installed metadata
    monkeypatch.setattr(importlib.metadata, "distributions", lambda name: [leftovers, Installed(record)])
    assert pip_line("export") == line


def test_no_message_names_what_nobody_has_published() -> None:
    """One place makes the line."""
    root = Path(__file__).parents[2]
    rooms = ("model", "training", "export", "mil", "runtime", "metrics", "cli", "benchmarks")
    files = [p for room in rooms for p in (root / room).rglob("*.py")]
    assert len(files) > 150
    assert [
        str(p) for p in files if "pip install" in p.read_text() and p.name not in ("extras.py", "environment.py")
    ] == []
