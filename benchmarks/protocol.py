"""How times are taken: all variants in one process, round robin, and every ratio within a round.

Clock rates, neighbours and caches change from second to second. A round visits every variant once for a block of calls,
every other round in reverse order; a block's time is the median of its calls. Derived numbers (ratios, fits) are
computed in each round from that round's times, and reported as median and range over the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rounds = NDArray[np.float64]  # (rounds,), milliseconds or a ratio of them


@dataclass(frozen=True)
class TimingProtocol:
    """Untimed calls of every variant first, then `rounds` blocks of `calls` each."""

    warm_up: int = 5
    rounds: int = 7
    calls: int = 20
    cpu_time: bool = False  # the thread's processor time in place of elapsed time: for hosts shared with others


QUICK = TimingProtocol(warm_up=2, rounds=3, calls=5)  # to see a benchmark run, not to quote


def measure(variants: Mapping[str, Callable[[], object]], protocol: TimingProtocol) -> dict[str, Rounds]:
    """Return each variant's block times in ms, one per round."""
    for call in variants.values():
        for _ in range(protocol.warm_up):
            call()
    blocks: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(protocol.rounds):
        for name in list(variants)[:: -1 if i % 2 else 1]:
            blocks[name].append(_block(variants[name], protocol))
    return {name: np.array(times) for name, times in blocks.items()}


def fit_line(counts: Sequence[int], times: Sequence[Rounds]) -> tuple[Rounds, Rounds]:
    """Fit times = a + b * count by least squares, in each round; return a and b."""
    b, a = np.polyfit(counts, np.stack(times), 1)
    return a, b


def summary(rounds: Rounds) -> str:
    """Write median and range."""
    return f"{np.median(rounds):.2f} ({rounds.min():.2f} to {rounds.max():.2f})"


def _block(call: Callable[[], object], protocol: TimingProtocol) -> float:
    clock = time.thread_time if protocol.cpu_time else time.perf_counter
    times = []
    for _ in range(protocol.calls):
        start = clock()
        call()
        times.append(clock() - start)
    return float(np.median(times)) * 1e3
