from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qlot.model.gate import TensorGate, gate_factor
from qlot.runtime.network import recurrence

deltas = st.tuples(*[st.floats(-3, 3, width=32)] * 2)
radii = st.floats(2**-12, 4, width=32)
moderate = st.tuples(st.floats(-8, 2, width=32), st.floats(-8, 2, width=32), st.floats(-1, 1, width=32))
covariances = st.tuples(st.floats(-12, 6, width=32), st.floats(-12, 6, width=32), st.floats(-30, 30, width=32))


def factor(
    delta: tuple[float, ...], covariance: tuple[float, ...], gate: TensorGate, dtype: torch.dtype = torch.float64
) -> float:
    return gate_factor(torch.tensor([[delta]], dtype=dtype), torch.tensor([[covariance]], dtype=dtype), gate).item()


@pytest.mark.parametrize(
    ("delta", "covariance", "sigma"),
    [
        ((0.3, 0.0), (math.log(0.02), 5.0, 0.0), 0.02),  # along x only sigma_x counts
        ((0.0, -2.0), (5.0, math.log(0.07), 0.0), 0.07),
        ((1.0, 1.0), (0.0, 0.0, math.atanh(0.5)), math.sqrt(1.5)),  # 1/2 + 1/2 + 2 rho / 2
        ((1.0, -1.0), (0.0, 0.0, math.atanh(0.5)), math.sqrt(0.5)),
        ((3.0, 4.0), (math.log(2), math.log(0.5), math.atanh(-0.2)), math.sqrt(1.44 + 0.16 - 2 * 0.2 * 2 * 0.5 * 0.48)),
    ],
)
def test_closed_form(delta: tuple[float, ...], covariance: tuple[float, ...], sigma: float) -> None:
    for radius, cutoff in ((0.05, 0.0), (0.5, 0.05), (2.0, 0.3)):
        wanted = max(math.tanh(sigma / radius) - cutoff, 0) / (1 - cutoff)
        assert factor(delta, covariance, TensorGate(radius, cutoff)) == pytest.approx(wanted, abs=1e-12)


def test_the_cutoff_closes_the_gate() -> None:
    assert factor((1.0, 0.0), (math.log(0.01), 0.0, 0.0), TensorGate(1.0, 0.05)) == 0


@given(deltas, covariances, radii, st.floats(0, 0.875, width=32))
def test_k_is_a_share(delta: tuple[float, ...], covariance: tuple[float, ...], radius: float, cutoff: float) -> None:
    assert 0 <= factor(delta, covariance, TensorGate(radius, cutoff), torch.float32) <= 1


@given(deltas, moderate, radii, st.floats(0, 0.5, width=32))
def test_the_host_applies_the_same_gate(
    delta: tuple[float, ...], covariance: tuple[float, ...], radius: float, cutoff: float
) -> None:
    host = recurrence.gate_factor(
        np.array([[delta]], np.float32), np.array([[covariance]], np.float32), recurrence.Gate(radius, cutoff)
    )
    assert host.item() == pytest.approx(factor(delta, covariance, TensorGate(radius, cutoff), torch.float32), abs=1e-6)


@given(deltas, covariances)
def test_radius_zero_is_an_open_gate(delta: tuple[float, ...], covariance: tuple[float, ...]) -> None:
    assert factor(delta, covariance, TensorGate(0.0, 0.05), torch.float32) == 1
    tensor = TensorGate(torch.tensor(0.0), torch.tensor(0.05))  # as the unrolled graph passes it
    assert factor(delta, covariance, tensor, torch.float32) == 1


@pytest.mark.parametrize("rho", [-20.0, 20.0])
def test_a_saturated_correlation_is_a_number(rho: float) -> None:
    """Across a degenerate ellipse the radicand cancels, and rounding takes it below zero."""
    sigma = torch.tensor([0.1, 0.33])
    across = torch.tensor([0.33, -math.copysign(0.1, rho)])  # sigma_x u_x = -+ sigma_y u_y
    delta = across * torch.linspace(0.5, 3, 4001)[:, None]
    covariance = torch.tensor([*sigma.log().tolist(), rho]).expand(4001, 3)
    along = covariance[:, :2].exp() * delta / delta.norm(dim=-1, keepdim=True)
    radicand = along.square().sum(-1) + 2 * math.copysign(1, rho) * along[:, 0] * along[:, 1]
    assert (radicand < 0).any()
    k = gate_factor(delta[None], covariance[None], TensorGate(0.02, 0.05))
    assert k.isfinite().all()
