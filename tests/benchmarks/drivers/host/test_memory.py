"""Memory: what the system tells is taken, growth is found, and where nothing is told nothing is claimed."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from qlot.benchmarks.drivers.host import memory
from qlot.benchmarks.drivers.host.memory import peak, resident, soak
from qlot.benchmarks.protocol.constants import protocol
from qlot.benchmarks.report.facts import growth
from qlot.runtime.errors import QlotError


def test_this_process_holds_something() -> None:
    now, most = resident(), peak()
    if now is None or most is None:
        pytest.skip("this system does not tell")
    assert 10e6 < now <= 1.1 * most < 1e12


@pytest.mark.parametrize(("leak", "flat"), [(0, True), (10, True), (2000, False)])
def test_growth_is_found(monkeypatch: pytest.MonkeyPatch, leak: int, flat: bool) -> None:
    """10 bytes a frame are 0.1 MB over the soak: what an allocator's bookkeeping takes. 2 KB a frame are 20 MB."""
    frames = count()
    monkeypatch.setattr(memory, "resident", lambda: 10**8 + 10**7 * (next(frames) < 10) + leak * 100 * next(frames))
    found = growth(soak(iter(lambda: 1.0, None), protocol().soak, lambda _: None))
    assert found.flat == flat
    assert found.bytes_a_frame == pytest.approx(2 * leak, abs=1)


def test_where_nothing_is_told_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "STATM", Path("/no/such/file"))
    with pytest.raises(QlotError, match="--soak: this system does not say"):
        soak(iter([1.0]), protocol().soak, lambda _: None)
