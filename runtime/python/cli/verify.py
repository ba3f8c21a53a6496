"""The body of `qlot verify`: replay a bundle's golden sequence and print how far off it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.network.replay import ReplayReport, replay


def verify(path: Path, console: Console, threads: int = 1) -> None:
    """Replay, print, and fail beyond the tolerance.

    Raises:
        BundleError: the bundle cannot be used, or has no golden sequence.
        ParityError: a landmark is off by more than the tolerance.
    """
    bundle = Bundle.open(path)
    parity = bundle.manifest.parity
    report = replay(bundle, threads)
    print_report(report, console, f"{path} against {parity.reference if parity else 'its golden sequence'}")
    report.check()
    console.print("passed", style="green")


def print_report(report: ReplayReport, console: Console, title: str) -> None:
    """Print a replay's errors by frame and by step, and what they are measured with."""
    console.print(title, style="bold", markup=False, highlight=False)
    console.print(_table("frame, last step", enumerate(report.per_frame)))
    console.print(_table("step, all frames", enumerate(report.per_step, start=1)))
    for label, text in (
        ("all", f"median {report.median_px:.2e} px, 99 % {report.p99_px:.2e} px, max {report.max_px:.2e} px"),
        ("frames' last steps", f"max {report.max_result_px:.2e} px"),
        ("worst", f"frame {report.worst.frame}, step {report.worst.step}, {report.worst.landmark}"),
        ("ln sigma, hidden", f"max {report.sigma:.2e}, max {report.hidden:.2e}"),
        ("tolerance", f"{report.tolerance.px:g} px of the network input, {report.tolerance.log_sigma:g} in ln sigma"),
        ("engine", report.engine),
    ):
        console.print(f"{label}: {text}", markup=False, highlight=False)


def _table(first: str, rows: Iterable[tuple[int, tuple[float, float]]]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for column in (first, "median px", "max px"):
        table.add_column(column, justify="right")
    for i, (median, largest) in rows:
        table.add_row(str(i), f"{median:.2e}", f"{largest:.2e}")
    return table
