"""What a frame and an iteration cost beside one graph that does everything.

Run it as `python -m qlot.benchmarks.studies.staged`.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from qlot.benchmarks.protocol import QUICK, TimingProtocol, summary
from qlot.runtime.errors import QlotError
from qlot.runtime.extras import pip_line
from qlot.runtime.host import host
from qlot.runtime.partial import written_whole
from qlot.runtime.progress import shown

if TYPE_CHECKING:
    from qlot.benchmarks.studies.comparison import Comparison


def main(
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", "-c", metavar="FILE_OR_NAME", help="A checkpoint, or shipped weights.")
    ] = "base",
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write all block times.")] = None,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="Processor time of the thread, not elapsed time: for a shared host.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="3 rounds of 5 calls: to see it run, not to quote.")] = False,
) -> None:
    """Time staged ONNX and TFLite bundles against the single graph: 98 landmarks, one thread, this machine.

    The exit code says nothing about speed.
    """
    try:
        from qlot.benchmarks.studies.comparison import compare
        from qlot.export.pipeline import resolve_checkpoint
    except ModuleNotFoundError as e:
        raise QlotError(f"this benchmark exports: {pip_line('export')} ({e})") from e

    if out is not None and not out.parent.is_dir():
        raise QlotError(f"--json: there is no folder {out.parent}")
    protocol = replace(QUICK if quick else TimingProtocol(), cpu_time=cpu_time)
    console = Console()
    with tempfile.TemporaryDirectory() as folder, shown(Console(stderr=True)) as progress:
        result = compare(resolve_checkpoint(checkpoint), protocol, Path(folder), progress)
    _report(console, checkpoint, protocol, result)
    if out is not None:
        with written_whole(out) as temporary:
            temporary.write_text(json.dumps(_record(checkpoint, protocol, result), indent=1) + "\n", encoding="utf-8")


def _report(console: Console, checkpoint: str, protocol: TimingProtocol, result: Comparison) -> None:
    from qlot.benchmarks.studies.comparison import COUNTS, NAIVE

    for label, text in (
        ("host", host()),
        ("engines", f"{'; '.join(result.engines)}, 1 thread"),
        ("model", f"{checkpoint}, {result.size} x {result.size}, 98 landmarks"),
        ("protocol", f"{protocol.rounds} rounds of {protocol.calls} calls, median (range) over the rounds"),
        ("clock", "processor time of the thread" if protocol.cpu_time else "elapsed time"),
    ):
        console.print(f"{label}: {text}", highlight=False, markup=False)
    for name, reason in result.left_out.items():
        console.print(f"left out: {name}: {reason}", highlight=False, markup=False, soft_wrap=True)
    frames = Table("frame", "K", "ms", "ratio to the single graph")
    for name, k in result.times:
        ratio = "1" if name == NAIVE else summary(result.ratio((name, k)))
        frames.add_row(name, str(k), summary(result.times[name, k]), ratio)
    fits = Table(f"a + b K over K = {', '.join(map(str, COUNTS))}", "a, ms", "b, ms")
    for name in (NAIVE, *result.staged):
        fit = result.fit(name)
        fits.add_row(name, summary(fit.a), summary(fit.b))
    bounds = Table("bound", "bundle", "at most", "found", "")
    for name in result.staged:
        for bound in result.bounds(name):
            verdict = "[green]met" if bound.met else "[red]NOT met"
            bounds.add_row(bound.text, name, f"{bound.limit:g}", summary(bound.found), verdict)
    console.print(frames, fits, bounds)


def _record(checkpoint: str, protocol: TimingProtocol, result: Comparison) -> dict[str, Any]:
    return {
        "host": host(),
        "engines": result.engines,
        "left_out": result.left_out,
        "checkpoint": checkpoint,
        "protocol": asdict(protocol),
        "frame_ms": [{"variant": name, "K": k, "rounds": t.tolist()} for (name, k), t in result.times.items()],
        "bounds": [
            {"bundle": name, "bound": b.text, "limit": b.limit, "rounds": b.found.tolist(), "met": b.met}
            for name in result.staged
            for b in result.bounds(name)
        ],
    }


def run() -> None:
    """Run the command; errors a user can cause are one line on stderr and exit code 2."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except (QlotError, OSError) as e:
        Console(stderr=True).print(f"error: {e}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    run()
