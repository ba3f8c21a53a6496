"""The command `qlot targets`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qlot.runtime.cli.hints import show_next


def targets(
    as_json: Annotated[bool, typer.Option("--json", help="Print every combination as JSON instead.")] = False,
) -> None:
    """Show which target takes which scheme and options, where it runs, and where that was verified."""
    from qlot.export.support.table import as_data

    console = Console()
    if as_json:
        console.file.write(json.dumps(as_data(), indent=1) + "\n")
        return
    _print(console)
    show_next(console, "targets")


def _print(console: Console) -> None:
    from qlot.export.graphs.schemes import PLANS
    from qlot.export.support.table import NOT_YET, VERIFIED, platforms, refusal, variants

    reasons: list[str] = []
    for target, verified in VERIFIED.items():
        console.print(Text(f"--target {target}", style="bold"))
        there = ", ".join(name for name, refused in platforms(target).items() if refused is None)
        for label, text in (
            ("runs on", f"{verified.engine}; packed for {there}"),
            ("verified", f"{verified.here}; {verified.elsewhere}; {NOT_YET}"),
        ):
            table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
            table.add_column(style="dim", width=8)
            table.add_column()
            table.add_row(label, Text(text))
            console.print(table)
        table = Table("scheme", box=None, padding=(0, 2, 0, 2))
        columns = variants(target)
        for flags, _ in columns:
            table.add_column(flags or "plain")
        for scheme, plan in PLANS.items():
            if target not in plan.targets:
                continue
            cells = []
            for _, options in columns:
                why = refusal(target, scheme, options)
                if why is not None and why not in reasons:
                    reasons.append(why)
                cells.append("yes" if why is None else f"no ({reasons.index(why) + 1})")
            table.add_row(f"{scheme}{' *' if plan.experimental else ''}", *cells)
        console.print(table)
        console.print()
    for number, why in enumerate(reasons, start=1):
        console.print(Text(f"({number}) {why}"))
    console.print(Text("* experimental, and of no other target"))
    console.print(Text("Every combination, refused ones with the reason: qlot targets --json"))


def commands(app: typer.Typer) -> None:
    """Register `targets`."""
    app.command(epilog="Examples:\n\n- `qlot targets`\n- `qlot targets --json | jq .targets`")(targets)
