"""What a lint found, for human readers and as data. Every form says that it is predicted."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qlot.export.lint.accumulate import HALF, HalfSums
from qlot.export.lint.devices import all_families
from qlot.export.lint.finding import LABEL, Finding, Severity
from qlot.export.lint.placement import StagePlacement
from qlot.export.lint.run import LintReport

MOST_TYPES = 3  # of operations that a line names
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def as_data(report: LintReport) -> dict[str, Any]:
    """Return a report as plain values; severities as words."""
    return {
        "label": LABEL,
        "bundle": str(report.bundle),
        "target": report.target,
        "families": list(report.families),
        "counts": {severity.word: report.counts[severity] for severity in Severity},
        "findings": [asdict(f) | {"severity": f.severity.word} for f in report.findings],
        "placements": [asdict(p) for p in report.placements],
        "half_sums": None if report.sums is None else _finite(asdict(report.sums)),
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity."""
    return {k: "inf" if v == float("inf") else v for k, v in values.items()}


def show(report: LintReport, console: Console) -> None:
    """Print a report; it reads in 80 columns."""
    console.print(Text(f"{report.bundle}: {LABEL} for {_families(report.families)}; nothing was run", style="bold"))
    console.print()
    _placements(console, report.placements)
    for _, group in groupby(sorted(report.findings, key=lambda f: (-f.severity, f.rule)), key=lambda f: f.rule):
        _rule(console, list(group), report)
    if report.sums is not None:
        console.print(Text(f"sums in float16 ({LABEL}): {_sums(report.sums)}"))
    console.print(Text(counted(report)))


def _placements(console: Console, placed: tuple[StagePlacement, ...]) -> None:
    table = Table("stage", "unit", box=None, padding=(0, 2, 0, 0))
    for name in ("ops", "MACs", "parts", "borders"):
        table.add_column(name, justify="right")
    for p in placed:
        macs = f"{p.macs_taken / p.macs:.0%}" if p.macs else "?"
        table.add_row(p.stage, p.unit, f"{p.taken}/{p.operations}", macs, str(p.partitions), str(p.borders))
    console.print(table)
    console.print()
    for p in placed:
        console.print(Text(f"{p.stage} on {p.unit}, {_families(p.families)}"))
        console.print(Padding(Text(p.advice, style="dim"), (0, 0, 0, 4)))
    console.print()


def _rule(console: Console, findings: list[Finding], report: LintReport) -> None:
    """Print what one rule found: its name once, then stage by stage, then what to do and who says so."""
    first = findings[0]
    console.print(Text(f"{first.severity.word} {first.rule}", style=_STYLES[first.severity]))
    for f in findings:
        at = f" at {f.tensor}" if f.tensor else ""
        families = "" if f.families == report.families else f" [{_families(f.families)}]"
        text = f"{f.stage}, {_operations(f.ops)}{at}, {f.label}: {f.text}{families}"
        console.print(Padding(Text(text), (0, 0, 0, 4)))
    console.print(Padding(Text(f"do: {first.remedy}"), (0, 0, 0, 4)))
    console.print(Padding(Text(f"source: {first.source}", style="dim"), (0, 0, 0, 4)))


def _families(names: tuple[str, ...]) -> str:
    """Name families, where a kind's are all there by the kind."""
    kinds: dict[str, list[str]] = {}
    for family in all_families():
        kinds.setdefault(family.kind, []).append(family.name)
    words = []
    for kind, members in kinds.items():
        there = [name for name in members if name in names]
        words += [f"all of {kind}"] if there == members and len(members) > 1 else there
    return ", ".join(words)


def _operations(ops: dict[str, int]) -> str:
    shown = [f"{count} {op}" if count > 1 else op for op, count in list(ops.items())[:MOST_TYPES]]
    left = sum(list(ops.values())[MOST_TYPES:])
    return ", ".join(shown) + (f" and {left} more" if left else "")


def _sums(sums: HalfSums) -> str:
    if sums.skipped:
        return f"not emulated: {sums.skipped}"
    stage, tensor = sums.bound_at
    return (
        f"{sums.frames} golden frames; no sum exceeds {sums.bound:.4g} ({stage}, {tensor}), the largest partial sum "
        f"that was emulated is {sums.partial:.4g}, the largest value {sums.values:.4g}; float16 ends at {HALF:g}"
    )


def counted(report: LintReport) -> str:
    """Return the number of findings of each severity as one line."""
    parts = (f"{report.counts[s]} {s.word}{'s' * (report.counts[s] != 1)}" for s in reversed(Severity))
    return f"{LABEL}: {', '.join(parts)}"
