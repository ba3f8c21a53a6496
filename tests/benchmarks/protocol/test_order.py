"""The order of settings: a permutation in each round, the one that other languages get."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.benchmarks.protocol.order import orders

PAGE = resources.files("qlot.runtime.contract").joinpath("bench.md").read_text("utf-8")
VECTORS = re.findall(r"^\| (\d+) \| (\d+) \| ([\d ;]+) \|$", PAGE, re.M)


@pytest.mark.parametrize(("seed", "settings", "rounds"), VECTORS)
def test_the_vectors_of_the_contract(seed: str, settings: str, rounds: str) -> None:
    wanted = tuple(tuple(map(int, part.split())) for part in rounds.split(";"))
    assert orders(int(settings), len(wanted), int(seed)) == wanted


def test_there_are_vectors() -> None:
    assert len(VECTORS) == 3


@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_every_round_visits_every_setting_once(settings: int, rounds: int, seed: int) -> None:
    found = orders(settings, rounds, seed)
    assert len(found) == rounds
    assert all(sorted(order) == list(range(settings)) for order in found)
    assert found[: rounds - 1] == orders(settings, rounds - 1, seed)


def test_no_place_belongs_to_a_setting() -> None:
    first = [order[0] for order in orders(4, 4000, 3)]
    assert all(abs(first.count(i) / 4000 - 0.25) < 0.03 for i in range(4))
