"""What a run writes down: one JSON line per entry, and the curves drawn from them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qlot.runtime.partial import written_whole

Entry = dict[str, Any]


class Journal:
    """Appends to `log.jsonl`; entries of a step that a resumed run repeats are cut off first.

    Args:
        path: the file.
        step: the step that the run goes on from.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [e for e in read_journal(path) if e["step"] <= step]
        with written_whole(path) as temporary:
            temporary.write_text("".join(json.dumps(e) + "\n" for e in kept), encoding="utf-8")

    def write(self, kind: str, step: int, **values: float) -> None:
        """Append an entry."""
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps({"kind": kind, "step": step} | {k: round(v, 6) for k, v in values.items()}) + "\n")


def read_journal(path: Path) -> list[Entry]:
    """Return all whole entries; a line that was cut off by a crash is left out."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def draw_curves(entries: Iterable[Entry], path: Path) -> None:
    """Draw losses and validation over steps to a PNG."""
    from matplotlib.figure import Figure

    entries = list(entries)
    losses, checks = ([e for e in entries if e["kind"] == kind] for kind in ("train", "validate"))
    names = [n for n in dict.fromkeys(n for e in losses for n in e) if n not in ("kind", "step", "lr", "frames_per_s")]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in names:
        points = [(e["step"], e[name]) for e in losses if name in e]
        left.plot(*zip(*points, strict=True), label=name, linewidth=0.9)
    left.set(xlabel="step", title="losses, means of the steps since the last entry", yscale="symlog")
    if names:
        left.legend(fontsize=7)
    for name in [n for n in dict.fromkeys(n for e in checks for n in e) if n.startswith("nme")]:
        points = [(e["step"], e[name]) for e in checks if name in e]
        right.plot(*zip(*points, strict=True), marker=".", label=name)
    right.set(xlabel="step", title="validation, % of the outer-eye distance (EMA weights)")
    if checks:
        right.legend(fontsize=7)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
