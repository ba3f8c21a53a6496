"""The progress of a run on the console: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qlot.training.fit.loop import LOG_EVERY, StepReport


@contextmanager
def bar(console: Console, steps: int) -> Iterator[Callable[[StepReport], None]]:
    """Yield the function to report steps to."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=steps)

        def report(step: StepReport) -> None:
            text = f"loss {step.loss:.3f}, {step.frames_per_second:.0f} frames/s"
            progress.update(task, completed=step.step, description=text)
            if step.checks:
                checks = ", ".join(f"{k} {v:.2f} %" for k, v in step.checks.items())
                console.print(f"step {step.step}: {text}; {checks}", highlight=False)
            elif not console.is_terminal and step.step % (4 * LOG_EVERY) == 0:
                console.print(f"step {step.step}: {text}", highlight=False)

        yield report
