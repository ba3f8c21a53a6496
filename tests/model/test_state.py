from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qlot.model.layout import load_layout
from qlot.model.state import TensorState, clamp_output, cold_start, from_pixels, to_pixels
from qlot.runtime.network import state as host

values = st.floats(-500, 500, width=32)


@given(st.lists(values, min_size=14, max_size=14), st.sampled_from([64, 96, 128, 224]))
def test_pixels_and_back(numbers: list[float], size: int) -> None:
    landmarks = torch.tensor(numbers, dtype=torch.float64).reshape(1, 2, 7)
    hidden = torch.randn(1, 2, 4, dtype=torch.float64)
    state = from_pixels(landmarks, hidden, size)
    torch.testing.assert_close(to_pixels(state, size), landmarks, atol=1e-10, rtol=0)
    assert state.hidden is hidden


def test_the_edges_of_the_image_are_one() -> None:
    rows = torch.tensor([[[-0.5, 223.5, math.log(112), 0.0, 0.7, 112.0, -56.0]]], dtype=torch.float64)
    state = from_pixels(rows, torch.zeros(1, 1, 1), 224)
    torch.testing.assert_close(state.position, torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64))
    wanted = torch.tensor([[[0.0, -math.log(112), 0.7]]], dtype=torch.float64)
    torch.testing.assert_close(state.covariance, wanted)
    torch.testing.assert_close(state.delta, torch.tensor([[[1.0, -0.5]]], dtype=torch.float64))


@pytest.mark.parametrize("size", [96, 128, 224])
def test_the_cold_start_is_the_hosts(size: int) -> None:
    points = load_layout("wflw98").points
    ours = cold_start(torch.tensor(points, dtype=torch.float32)[None], 128)
    theirs = host.cold_start(points, size, 128)
    np.testing.assert_allclose(to_pixels(ours, size).numpy(), theirs.landmarks, atol=2e-5)
    np.testing.assert_array_equal(ours.hidden.numpy(), theirs.hidden)
    assert ours.position.abs().max() > 1.2  # the jaw starts outside the image and is not clamped


def _state(position: float, log_sigma: float) -> TensorState:
    rest = torch.full((1, 1, 2), 77.0, dtype=torch.float64)
    covariance = torch.tensor([[[log_sigma, -log_sigma, 50.0]]], dtype=torch.float64)
    return TensorState(torch.full_like(rest, position), covariance, rest, torch.full_like(rest, -9.0))


@given(st.floats(-9, 9), st.floats(-20, 20))
def test_only_positions_and_sigmas_are_clamped_and_as_on_the_host(position: float, log_sigma: float) -> None:
    state = _state(position, log_sigma)
    clamped = clamp_output(state)
    assert clamped.position.abs().max() <= 2
    assert clamped.covariance[..., :2].min() >= -10
    assert clamped.covariance[..., :2].max() <= 3
    assert torch.equal(clamped.covariance[..., 2], state.covariance[..., 2])
    assert torch.equal(clamped.delta, state.delta)
    assert torch.equal(clamped.hidden, state.hidden)
    theirs = host.clamp_output(to_pixels(state, 96).numpy(), 96)
    np.testing.assert_allclose(to_pixels(clamped, 96).numpy(), theirs, atol=1e-9)


def test_what_lies_within_is_left_alone() -> None:
    state = _state(1.9, 2.9)
    assert torch.equal(clamp_output(state).position, state.position)
    assert torch.equal(clamp_output(state).covariance, state.covariance)
