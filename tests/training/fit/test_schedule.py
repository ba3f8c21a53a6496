"""Learning rate, weights and iterations by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.training.fit.schedule import learning_rate, plan
from tests.training.tiny import recipe

LONG = recipe(steps=1000, warm_up=100, learning_rate=1e-2, last_learning_rate=1e-4, frames=4)


def test_the_rate_warms_up_and_falls_as_a_cosine() -> None:
    assert learning_rate(LONG, 0) == pytest.approx(1e-4)
    assert learning_rate(LONG, 99) == learning_rate(LONG, 100) == pytest.approx(1e-2)
    assert learning_rate(LONG, 550) == pytest.approx((1e-2 + 1e-4) / 2)  # half way
    assert learning_rate(LONG, 325) == pytest.approx(1e-4 + 0.99e-2 * (1 + np.cos(np.pi / 4)) / 2)
    assert learning_rate(LONG, 1000) == pytest.approx(1e-4)


@given(st.integers(0, 998))
def test_the_rate_never_jumps(step: int) -> None:
    assert abs(learning_rate(LONG, step + 1) - learning_rate(LONG, step)) <= 1e-4 + 1e-9


def test_a_plan_is_a_function_of_seed_and_step() -> None:
    assert plan(LONG, 7) == plan(LONG, 7)
    assert len({tuple(plan(LONG, s)[0]) for s in range(30)}) > 5
    assert [plan(LONG, s)[0] for s in range(9)] != [plan(LONG.model_copy(update={"seed": 1}), s)[0] for s in range(9)]


def test_iterations_follow_their_chances() -> None:
    drawn = np.array([plan(LONG, s)[0] for s in range(1000)])
    assert drawn.shape == (1000, 4)
    assert np.bincount(drawn[:, 0], minlength=6)[1:6] / 1000 == pytest.approx([0, 0, 0.2, 0.6, 0.2], abs=0.05)
    assert np.bincount(drawn[:, 1:].ravel())[1:] / 3000 == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


def test_weights_ramp() -> None:
    run = LONG.model_copy(
        update={"weights": LONG.weights.model_copy(update={"flip_share": 1.0, "temporal_from": 0.05})}
    )
    by_step = {s: plan(run, s)[1] for s in (0, 49, 50, 150, 250, 300, 500, 999)}
    assert [by_step[s].flip for s in (0, 250, 500, 999)] == pytest.approx([0, 2, 4, 4])
    assert [by_step[s].maps for s in (0, 150, 300, 999)] == pytest.approx([1, 0.5, 0, 0])
    assert [(by_step[s].first_difference, by_step[s].second_difference) for s in (49, 50)] == [(0, 0), (0.5, 0.25)]
    assert {w.decay for w in by_step.values()} == {0.85} and {w.position for w in by_step.values()} == {1.0}
    drawn = [plan(LONG, s)[1].flip > 0 for s in range(1, 1000)]  # the tiny recipe asks for half of the steps
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.06)


def test_ramps_of_no_length() -> None:
    weights = LONG.weights.model_copy(update={"flip_share": 1.0, "flip_ramp": 0.0, "maps_until": 0.0})
    first = plan(LONG.model_copy(update={"weights": weights}), 0)[1]
    assert first.flip == 4.0 and first.maps == 0.0
