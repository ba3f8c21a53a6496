"""The line that installs an extra of this project, for the way in which it is installed here."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
from urllib.parse import urlsplit
from urllib.request import url2pathname

DISTRIBUTION = "qlot-mobile"


def pip_line(extra: str) -> str:
    """Return the `pip install` line that adds an extra: to the checkout, the folder or the wheel installed from.

    Only what came from a package index is named by its name there.
    """
    editable, source = _source()
    return f"pip install {'-e ' if editable else ''}{shlex.quote(_wanted(source, extra))}"


def _wanted(source: str | None, extra: str) -> str:
    if source is None or " @ " not in source:
        return f"{source or DISTRIBUTION}[{extra}]"
    name, _, url = source.partition(" @ ")
    return f"{name}[{extra}] @ {url}"


def _source() -> tuple[bool, str | None]:
    """Whether this is an editable install, and what it was installed from; None for an index (PEP 610)."""
    for found in importlib.metadata.distributions(name=DISTRIBUTION):
        text = found.read_text("direct_url.json")  # a build's leftovers in the source tree have none
        if text:
            record = json.loads(text)
            parts = urlsplit(record["url"])
            editable = bool(record.get("dir_info", {}).get("editable"))
            if parts.scheme != "file":
                return editable, f"{DISTRIBUTION} @ {record['url']}"
            return editable, url2pathname(parts.path)
    return False, None
