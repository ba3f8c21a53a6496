from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.metrics import mean_interval


def test_one_picture_a_person_gives_the_normal_interval() -> None:
    """Mean of n independent values: +- 1.96 sigma / sqrt(n)."""
    values = np.random.default_rng(0).normal(5, 2, 2000)
    low, high = mean_interval(values, [str(i) for i in range(2000)], samples=4000)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_pictures_of_one_person_are_no_new_evidence() -> None:
    """Each value k times: the interval is that of the people, sqrt(k) wider than if each picture counted."""
    people, k = np.random.default_rng(1).normal(size=200), 9
    values, names = np.repeat(people, k), np.repeat(np.arange(200), k).astype(str).tolist()
    clustered = np.ptp(mean_interval(values, names, samples=4000))
    assert clustered == pytest.approx(np.ptp(mean_interval(people, [str(i) for i in range(200)], samples=4000)))
    naive = np.ptp(mean_interval(values, [str(i) for i in range(len(values))], samples=4000))
    assert clustered / naive == pytest.approx(np.sqrt(k), rel=0.1)


def test_interval_of_few_people_covers_the_true_mean_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    hits = 0
    for seed in range(200):
        people = random.normal(size=30)
        values = np.repeat(people, 4) + random.normal(0, 0.3, 120)
        low, high = mean_interval(values, np.repeat(np.arange(30), 4).astype(str).tolist(), samples=400, seed=seed)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.98


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(1, 5))
def test_interval_lies_within_the_values_and_is_repeatable(values: list[float], people: int) -> None:
    names = [str(i % people) for i in range(len(values))]
    low, high = mean_interval(np.array(values), names, samples=50)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert mean_interval(np.array(values), names, samples=50) == (low, high)


def test_a_single_person_has_no_spread_and_other_seeds_draw_otherwise() -> None:
    values = np.arange(5.0)
    assert mean_interval(values, ["a"] * 5) == (2, 2)
    names = list("abcde")
    assert mean_interval(values, names, samples=20) != mean_interval(values, names, samples=20, seed=1)


@pytest.mark.parametrize(
    ("values", "names"), [([], []), ([1.0, np.nan], ["a", "b"]), ([1.0], ["a", "b"]), ([[1.0]], ["a"])]
)
def test_values_that_cannot_be_averaged_are_refused(values: list[float], names: list[str]) -> None:
    with pytest.raises(ValueError, match="one finite value"):
        mean_interval(np.array(values), names)
