from __future__ import annotations

import signal

import pytest

from qlot.runtime.stopping import StopRequest, exit_code

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_asks_and_a_second_ctrl_c_interrupts(number: signal.Signals) -> None:
    before = [signal.getsignal(s) for s in BOTH]
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        assert not stop.made and stop.signal is None
        signal.raise_signal(number)
        assert stop.made and stop.signal is number
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal is number, "what is being saved is not cut short"
        signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(s) for s in BOTH] == before


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(s) for s in BOTH]
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert not stop.made
    assert [signal.getsignal(s) for s in BOTH] == before


def test_exit_codes_are_those_of_a_shell() -> None:
    assert [exit_code(s) for s in BOTH] == [130, 143]
