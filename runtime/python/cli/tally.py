"""What `qlot track` says at the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qlot.runtime.media.thinned import Thinned
from qlot.runtime.tracking.result import Status, TrackResult

TIMED = 4096  # frames, at least, whose times the medians are of


class Tally:
    """Counts for the closing table."""

    def __init__(self) -> None:
        self.frames = 0
        self.last = 0.0  # time stamp
        self._losses = 0
        self._statuses: Counter[Status] = Counter()
        self._milliseconds = Thinned[dict[str, float]](TIMED)
        self._status = Status.SEARCHING

    def add(self, result: TrackResult) -> None:
        """Count a frame's answer."""
        self.frames += 1
        self.last = result.timestamp
        self._losses += result.status == Status.LOST and self._status == Status.TRACKING
        self._statuses[result.status] += 1
        self._status = result.status
        self._milliseconds.add(lambda: result.milliseconds)

    @property
    def tracked(self) -> int:
        """How many frames showed a face."""
        return self._statuses[Status.TRACKING]

    def report(self, console: Console, engine: str, files: list[Path], remarks: list[str]) -> None:
        """Print the table, the files and the remarks."""
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_row("frames", str(self.frames))
        table.add_row("tracked", f"{self.tracked} ({self.tracked / self.frames:.1%})")
        table.add_row("losses", str(self._losses))
        timed = [spent for spent in self._milliseconds.items if spent]
        for stage in timed[0] if timed else ():
            table.add_row(f"median {stage}", f"{np.median([spent[stage] for spent in timed]):.2f} ms")
        table.add_row("engine", Text(engine))
        console.print(table)
        for file in files:
            console.print(f"wrote {file}", markup=False, highlight=False, soft_wrap=True)
        for remark in remarks:
            console.print(f"note: {remark}", markup=False, highlight=False)
        if not self.tracked:
            console.print("no face was found in any frame: landmarks are empty", highlight=False)
