"""Blocks of all settings, round after round, each round in an order of its own."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from qlot.benchmarks.drivers.host.environment import OtherLoad
from qlot.benchmarks.drivers.host.subjects import Setting, TimedSubject
from qlot.benchmarks.protocol.constants import AmountSpec, MeasuredSpec
from qlot.benchmarks.protocol.order import orders
from qlot.benchmarks.results.model import Part, SeriesSpec, SettingSpec
from qlot.runtime.progress import Progress


class _Planned(NamedTuple):
    subject: int
    setting: Setting


@dataclass
class Measured:
    """What came of it.

    Attributes:
        settings: in the order of their indices, which the seed shuffles.
        series: of each subject.
        other_load: share of all cores' time that others took; None where the system does not tell.
    """

    settings: tuple[SettingSpec, ...]
    series: list[tuple[SeriesSpec, ...]]
    other_load: float | None


@dataclass
class _Samples:
    rounds: dict[tuple[Part, int], list[tuple[float, ...]]] = field(default_factory=dict)

    def add(self, setting: Setting, found: dict[Part, list[float]]) -> None:
        for part, values in found.items():
            rounded = tuple(round(value, 4) for value in values)  # a tenth of a microsecond
            self.rounds.setdefault((part, setting.iterations), []).append(rounded)

    def series(self) -> tuple[SeriesSpec, ...]:
        return tuple(SeriesSpec(part=p, iterations=k, rounds=tuple(r)) for (p, k), r in self.rounds.items())


def measure(
    subjects: Sequence[TimedSubject], warm_up: AmountSpec, amount: MeasuredSpec, seed: int, progress: Progress
) -> Measured:
    """Warm every setting up, then visit all of them in every round.

    Args:
        subjects: loaded.
        warm_up: of every setting.
        amount: of every setting, over all rounds.
        seed: of the order.
        progress: told what is being done, with the time that is left.
    """
    planned = [_Planned(i, setting) for i, subject in enumerate(subjects) for setting in subject.settings]
    seconds = []
    for i, (subject, setting) in enumerate(planned):
        progress(f"warming up {subjects[subject].name}, {_named(setting)} ({i + 1} of {len(planned)})")
        seconds.append(_warm(subjects[subject], setting, warm_up))
    blocks = [amount.block(s) for s in seconds]
    left = amount.rounds * sum(n * s for n, s in zip(blocks, seconds, strict=True))
    samples, load = [_Samples() for _ in subjects], OtherLoad()
    with _without_collector():
        for number, order in enumerate(orders(len(planned), amount.rounds, seed)):
            for index in order:
                subject, setting = planned[index]
                progress(f"round {number + 1} of {amount.rounds}, about {left:.0f} s left")
                gc.collect()
                samples[subject].add(setting, subjects[subject].block(setting, blocks[index]))
                left -= blocks[index] * seconds[index]
    return Measured(
        tuple(SettingSpec(subject=p.subject, what=p.setting.what, iterations=p.setting.iterations) for p in planned),
        [s.series() for s in samples],
        load.share(),
    )


@contextmanager
def _without_collector() -> Iterator[None]:
    """Let Python collect between blocks alone: within one it would pause for this program's sake, not for a frame's.

    What is there already is kept out of it: looking through that takes longer than a block.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _warm(subject: TimedSubject, setting: Setting, amount: AmountSpec) -> float:
    """Run until it is warm; return the seconds that a call of its later half took."""
    times: list[float] = []
    while len(times) < amount.frames or sum(times) < 1e3 * amount.seconds:
        found = subject.block(setting, 1)
        times.append(found["frame" if setting.what == "frame" else "network"][0])
    late = sorted(times[len(times) // 2 :])
    return max(late[len(late) // 2], 1e-3) / 1e3


def _named(setting: Setting) -> str:
    return f"{setting.what}, K = {setting.iterations}"
