"""Rounds: every setting in its turn, all samples kept, and a slower subject found."""

from __future__ import annotations

import numpy as np

from qlot.benchmarks.drivers.host.measure import measure
from qlot.benchmarks.drivers.host.subjects import Setting, TimedCall
from qlot.benchmarks.protocol.constants import AmountSpec, MeasuredSpec
from qlot.benchmarks.protocol.order import orders
from qlot.benchmarks.protocol.statistics import medians, ratio

WARM, AMOUNT = AmountSpec(frames=3, seconds=0.0), MeasuredSpec(frames=40, seconds=0.0, rounds=4)


def _calls(name: str, seen: list[str], steps: tuple[int, ...]) -> TimedCall:
    return TimedCall(name, "peer", "an engine", {k: lambda k=k: seen.append(f"{name}{k}") for k in steps})


def test_rounds_follow_the_seed() -> None:
    seen: list[str] = []
    found = measure([_calls("a", seen, (1, 2)), _calls("b", seen, (0,))], WARM, AMOUNT, 9, lambda _: None)
    names = ["a1", "a2", "b0"]
    assert [(s.subject, s.what, s.iterations) for s in found.settings] == [
        (0, "network", 1), (0, "network", 2), (1, "network", 0),
    ]  # fmt: skip
    wanted = [name for name in names for _ in range(3)]
    for order in orders(3, 4, 9):
        wanted += [names[i] for i in order for _ in range(10)]
    assert seen == wanted
    assert [(s.part, s.iterations, [len(r) for r in s.rounds or ()]) for s in found.series[0]] == [
        ("network", 1, [10] * 4), ("network", 2, [10] * 4),
    ]  # fmt: skip
    assert found.other_load is None or 0 <= found.other_load <= 1


class _Machine:
    """A subject on a machine whose speed drifts, in time that passes only here."""

    threads = 1
    speed = 1.0
    rng = np.random.default_rng(0)

    def __init__(self, name: str, middle: float) -> None:
        self.name, self._middle, self.settings = name, middle, (Setting("frame", 1),)

    def block(self, setting: Setting, frames: int) -> dict[str, list[float]]:
        _Machine.speed *= float(np.exp(self.rng.normal(0, 0.01)))
        return {"frame": (self._middle * self.speed * self.rng.lognormal(0, 0.03, frames)).tolist()}


def test_a_build_that_is_a_tenth_slower_is_found_and_an_identical_one_is_not() -> None:
    amount = MeasuredSpec(frames=200, seconds=0.0, rounds=20)
    found = measure(
        [_Machine("old", 5.0), _Machine("same", 5.0), _Machine("slower", 5.5)], WARM, amount, 1, lambda _: None
    )
    old, same, slower = (medians(series[0].rounds or ()) for series in found.series)
    assert 1.0 in ratio(same, old, paired=True)
    worse = ratio(slower, old, paired=True)
    assert 1.0 not in worse and worse.low < 1.1 < worse.high
