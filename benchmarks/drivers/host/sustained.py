"""A run at a camera's pace: what is missed, what slows down, how long it takes to recover."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from qlot.benchmarks.drivers.host.environment import celsius, kilohertz
from qlot.benchmarks.protocol.constants import SustainedRule
from qlot.benchmarks.protocol.statistics import summary
from qlot.benchmarks.results.model import SustainedSpec, WindowSpec
from qlot.runtime.progress import Progress

_PROBE = 20  # frames whose median says how fast the device is


@dataclass
class _Window:
    start: float
    times: list[float] = field(default_factory=list)
    missed: int = 0

    def spec(self) -> WindowSpec:
        found = summary(self.times)
        return WindowSpec(
            start=round(self.start, 3),
            frames=found.count,
            p50=found.p50,
            p90=found.p90,
            p99=found.p99,
            missed=self.missed,
            celsius=celsius(),
            kilohertz=kilohertz(),
        )


def sustained(
    frames: Iterator[float], iterations: int, fps: float, seconds: float, constants: SustainedRule, progress: Progress
) -> SustainedSpec:
    """Run frames as a camera would deliver them: the newest that waits is taken, those before it are missed.

    Args:
        frames: each runs one and yields its milliseconds.
        iterations: K, for the record.
        fps: of the camera.
        seconds: how long.
        constants: of the protocol.
        progress: told how far it is.
    """
    before = _probe(frames)
    begin = time.perf_counter()
    windows: list[WindowSpec] = []
    window, tick = _Window(0.0), 0
    while (now := time.perf_counter() - begin) < seconds:
        if now - window.start >= constants.window and window.times:
            windows.append(window.spec())
            progress(f"sustained: {now:.0f} of {seconds:.0f} s, {windows[-1].p50:.2f} ms a frame")
            window = _Window(now)
        wait = tick / fps - now
        if wait > 0:
            time.sleep(wait)
        window.times.append(next(frames))
        tick += 1
        late = int((time.perf_counter() - begin) * fps) - tick
        if late > 0:  # those ticks are over: their frames were dropped
            window.missed += late
            tick += late
    if window.times:
        windows.append(window.spec())
    return SustainedSpec(
        iterations=iterations,
        fps=fps,
        seconds=seconds,
        windows=tuple(windows),
        cool_down=_cool_down(frames, before, constants, progress),
    )


def _probe(frames: Iterator[float]) -> float:
    return summary(list(islice(frames, _PROBE))).p50


def _cool_down(frames: Iterator[float], before: float, constants: SustainedRule, progress: Progress) -> float | None:
    """Return the seconds until frames are as fast as before; None if they are not in time."""
    begin = time.perf_counter()
    while (waited := time.perf_counter() - begin) < constants.cool_down:
        if _probe(frames) <= constants.returned * before:
            return round(waited, 3)
        progress(f"cooling down: {waited:.0f} s")
        time.sleep(min(1.0, constants.cool_down))
    return None
