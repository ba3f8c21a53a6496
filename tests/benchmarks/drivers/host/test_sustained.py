"""A camera's pace, in time that passes only here: what is late is missed, what warms up is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qlot.benchmarks.drivers.host import sustained as module
from qlot.benchmarks.drivers.host.sustained import sustained
from qlot.benchmarks.protocol.constants import SustainedRule
from qlot.benchmarks.results.model import SustainedSpec

CONSTANTS = SustainedRule(window=2.0, cool_down=30.0, returned=1.05)


class _Time:
    """A clock, a sleep, and frames that take what they are said to take."""

    def __init__(self, takes: Callable[[float], float]) -> None:
        self.now, self._takes = 100.0, takes

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def frames(self) -> Iterator[float]:
        while True:
            seconds = self._takes(self.now - 100.0)
            self.now += seconds
            yield 1e3 * seconds


def _run(monkeypatch: pytest.MonkeyPatch, takes: Callable[[float], float]) -> SustainedSpec:
    time = _Time(takes)
    monkeypatch.setattr(module, "time", time)
    return sustained(time.frames(), 1, 30.0, 10.0, CONSTANTS, lambda _: None)


def test_a_fast_device_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _run(monkeypatch, lambda _: 0.01)
    assert [w.missed for w in found.windows] == [0] * len(found.windows)
    assert sum(w.frames for w in found.windows) == pytest.approx(300, abs=2)
    assert {round(w.p50, 6) for w in found.windows} == {10.0}
    assert found.cool_down == 0


def test_a_slow_device_does_what_it_can_and_misses_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _run(monkeypatch, lambda _: 0.05)
    frames, missed = sum(w.frames for w in found.windows), sum(w.missed for w in found.windows)
    assert frames + missed == pytest.approx(300, abs=3)
    assert frames == pytest.approx(200, abs=3)


def test_a_device_that_warms_up_is_seen_and_cools_down(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _run(monkeypatch, lambda at: 0.02 if 5 < at < 18 else 0.01)
    assert found.windows[0].p50 == pytest.approx(10) and found.windows[-1].p50 == pytest.approx(20)
    assert found.cool_down is not None and 5 < found.cool_down < 12


def test_a_device_that_stays_slow_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(monkeypatch, lambda at: 0.02 if at > 5 else 0.01).cool_down is None
