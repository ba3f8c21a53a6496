"""The short table of the three levels."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from qlot.export.parity.levels import Levels
from qlot.export.parity.spread import Spread


def print_levels(console: Console, levels: Levels) -> None:
    """Print median, 99 % and largest error of each level, what is allowed, and the verdict."""
    free, task = levels.free, levels.task
    console.print(
        f"parity with float32 PyTorch over {len(free.errors)} frames, errors in px of the network input",
        highlight=False,
    )
    table = Table("", "", "median", "p99", "max", "", box=None, pad_edge=False)
    for stage in levels.stages.stages:
        table.add_row("a", f"{stage.name} alone", *cells(stage.spread), _verdict(levels, "a", stage.name))
    table.add_row("b", "free run, all steps", *cells(free.spread), _verdict(levels, "b", "free run"))
    table.add_row("", "  frames' results", *cells(Spread.of(free.results)), "")
    if free.percent is not None:
        table.add_row("", "  all steps, % of outer eyes", *cells(Spread.of(free.percent)), "")
    for name, errors in free.uncertainty.items():
        table.add_row("", f"  {name}", *cells(Spread.of(errors)), "")
    console.print(table)
    table = Table("", "", "NMF", "change", "NME %", "lag ms", "", box=None, pad_edge=False)
    for clip in task.clips:
        lag = "" if clip.lag is None else f"{clip.lag.reference:.1f} > {clip.lag.bundle:.1f}"
        nmf, nme = (f"{c.reference:.3g} > {c.bundle:.3g}" for c in (clip.nmf, clip.nme))
        table.add_row("c", clip.name, nmf, f"{clip.nmf.change:+.2%}", nme, lag, _verdict(levels, "c", clip.name))
    table.add_row(
        "", "real clip", "", f"{task.flicker:+.2%}", f"{task.distance:.2g}", "", _verdict(levels, "c", "real")
    )
    console.print(table)
    for check in levels.failed:
        console.print(f"{check.level}  {check.text}", style="red", highlight=False)
    console.print(f"engine: {free.engine}", highlight=False)


def cells(spread: Spread) -> tuple[str, str, str]:
    """Write a spread in two digits."""
    return f"{spread.median:.2g}", f"{spread.p99:.2g}", f"{spread.max:.2g}"


def _verdict(levels: Levels, level: str, subject: str) -> str:
    mine = [c for c in levels.checks if c.level == level and c.subject.startswith(subject)]
    return "passed" if all(c.passed for c in mine) else "FAILED"
