"""Losses against closed forms, their masks, and where gradients flow and where not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal

from qlot.model.correlation import lookup_dense
from qlot.training.fit import losses

D = torch.float64


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def _trajectory(b: int = 2, frames: int = 4, n: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Positions, covariance parameters, targets, validity with a gap."""
    valid = torch.ones(b, frames, n, dtype=torch.bool)
    valid[0, 1, 2] = valid[1, -1, 0] = False
    return _normal(b, frames, n, 2), 0.5 * _normal(b, frames, n, 3, seed=1), _normal(b, frames, n, 2, seed=2), valid


def test_the_position_loss_is_the_mean_distance_of_valid_landmarks() -> None:
    predicted = torch.tensor([[3.0, 4.0], [1.0, 0.0], [9.0, 9.0]], dtype=D)
    valid = torch.tensor([True, True, False])
    assert losses.position_loss(predicted, torch.zeros(3, 2, dtype=D), valid).item() == pytest.approx(3.0)


def test_nothing_valid_costs_nothing_and_moves_nothing() -> None:
    predicted = _normal(3, 2).requires_grad_()
    loss = losses.position_loss(predicted, torch.zeros(3, 2, dtype=D), torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and predicted.grad is not None and not predicted.grad.any()


def test_a_perfect_position_has_a_finite_gradient() -> None:
    predicted = torch.zeros(3, 2, requires_grad=True)
    losses.position_loss(predicted, torch.zeros(3, 2), torch.ones(3, dtype=torch.bool)).backward()
    assert predicted.grad is not None and predicted.grad.isfinite().all()


def test_the_covariance_loss_is_the_log_density_of_a_gaussian() -> None:
    predicted, parameters, target, valid = _trajectory()
    sx, sy, rho = parameters[..., 0].exp(), parameters[..., 1].exp(), parameters[..., 2].tanh()
    rows = [torch.stack([sx**2, rho * sx * sy], -1), torch.stack([rho * sx * sy, sy**2], -1)]
    S = torch.stack(rows, -2)
    density = MultivariateNormal(target, S).log_prob(predicted)
    expected = -density[valid].mean() - math.log(2 * math.pi)
    assert losses.covariance_loss(predicted, parameters, target, valid).item() == pytest.approx(expected.item())


def test_the_covariance_loss_trains_the_covariance_only() -> None:
    predicted, parameters, target, valid = _trajectory()
    predicted.requires_grad_(), parameters.requires_grad_()
    losses.covariance_loss(predicted, parameters, target, valid).backward()
    assert predicted.grad is None
    assert parameters.grad is not None and (parameters.grad.abs().sum(-1) > 0).equal(valid)


def test_the_right_sigma_is_the_least_loss() -> None:
    """Residuals of 0.1 on both axes: sigma 0.1 is better than anything near it."""
    residual, valid = 0.1 * _normal(20000, 2), torch.ones(20000, dtype=torch.bool)

    def at(sigma: float) -> float:
        parameters = torch.tensor([math.log(sigma), math.log(sigma), 0.0], dtype=D).expand(20000, 3)
        return losses.covariance_loss(residual, parameters, torch.zeros_like(residual), valid).item()

    assert at(0.1) < min(at(0.09), at(0.11))


@pytest.mark.parametrize("order", [1, 2])
def test_differences_by_hand(order: int) -> None:
    """Frame by frame: NLL of the difference of errors under the sum of its parts' covariances."""
    predicted, parameters, target, valid = _trajectory()
    S, error = losses.covariance_matrices(parameters), predicted - target
    factors = {1: (1.0, -1.0), 2: (1.0, -2.0, 1.0)}[order]
    densities = []
    for b in range(2):
        for t in range(order, 4):
            for n in range(3):
                at = [(b, t - back, n) for back in range(order + 1)]
                if not all(valid[i] for i in at):
                    continue
                residual = sum((f * error[i] for f, i in zip(factors, at, strict=True)), torch.zeros(2, dtype=D))
                both = sum((f * f * S[i] for f, i in zip(factors, at, strict=True)), torch.zeros(2, 2, dtype=D))
                densities.append(MultivariateNormal(torch.zeros(2, dtype=D), both).log_prob(residual))
    function = losses.first_difference_loss if order == 1 else losses.second_difference_loss
    expected = -torch.stack(densities).mean().item() - math.log(2 * math.pi)
    assert function(predicted, parameters, target, valid).item() == pytest.approx(expected)


@pytest.mark.parametrize(("function", "first"), [(losses.first_difference_loss, 1), (losses.second_difference_loss, 2)])
def test_differences_move_no_earlier_frame_and_no_covariance(function, first: int) -> None:  # type: ignore[no-untyped-def]
    predicted, parameters, target, valid = _trajectory(frames=first + 1)
    predicted.requires_grad_(), parameters.requires_grad_()
    function(predicted, parameters, target, torch.ones_like(valid)).backward()
    assert parameters.grad is None and predicted.grad is not None
    assert not predicted.grad[:, :first].any() and (predicted.grad[:, first] != 0).all()


@settings(deadline=None, max_examples=40)
@given(
    parameters=st.lists(st.floats(-60, 20), min_size=2, max_size=2),
    rho=st.floats(-60, 60),
    residual=st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=2),
)
def test_saturated_covariances_give_finite_losses_and_gradients(
    parameters: list[float], rho: float, residual: list[float]
) -> None:
    numbers = torch.tensor([[*parameters, rho]], dtype=torch.float32, requires_grad=True)
    error = torch.tensor([residual], dtype=torch.float32)
    for known in (True, False):
        loss = losses.covariance_loss(error, numbers, torch.zeros(1, 2), torch.tensor([known]))
        (gradient,) = torch.autograd.grad(loss, numbers)
        assert loss.isfinite() and gradient.isfinite().all()
        assert known or not gradient.any()


def test_bfloat16_numbers_keep_the_covariance_definite() -> None:
    S = losses.covariance_matrices(torch.tensor([0.0, 0.0, 9.0], dtype=torch.bfloat16))
    assert S.dtype == torch.float32 and torch.linalg.eigvalsh(S).min() > 1e-4


def test_flip_consistency_of_mirror_images_is_nothing() -> None:
    predicted, _, _, valid = _trajectory()
    mirrored = predicted * torch.tensor([-1.0, 1.0], dtype=D)
    assert losses.flip_loss(predicted, mirrored, valid).item() == pytest.approx(0, abs=2e-6)
    moved = mirrored + torch.tensor([0.3, 0.4], dtype=D)
    assert losses.flip_loss(predicted, moved, valid).item() == pytest.approx(0.5)


def _perfect_maps(target: Tensor, size: int, kernel: int) -> tuple[Tensor, Tensor]:
    """Return the logs of the bilinear weights as a map of two heads that sum to it, and the weights' mean entropy."""
    at = target * ((size + kernel - 1) / 2) + (size - 1) / 2
    low = at.floor()
    part = at - low
    weights = torch.zeros(*target.shape[:2], size, size, dtype=D)
    for b, n in torch.cartesian_prod(*(torch.arange(k) for k in target.shape[:2])).tolist():
        x, y = (int(v) for v in low[b, n])
        px, py = part[b, n].tolist()
        for dx, wx in ((0, 1 - px), (1, px)):
            for dy, wy in ((0, 1 - py), (1, py)):
                weights[b, n, y + dy, x + dx] = wx * wy
    entropy = torch.special.entr(weights).sum((-1, -2)).mean()
    logs = weights.clamp(min=1e-30).log()
    return torch.stack([0.25 * logs, 0.75 * logs], 1), entropy


@pytest.mark.parametrize("kernel", [1, 2])
def test_a_perfect_map_leaves_the_entropy_of_the_bilinear_weights(kernel: int) -> None:
    target = torch.tensor([[[0.1, -0.33], [-0.52, 0.4], [0.013, 0.6]]], dtype=D)
    maps, entropy = _perfect_maps(target, 8, kernel)
    valid = torch.ones(1, 3, dtype=torch.bool)
    found = losses.map_cross_entropy([maps], target, valid, [kernel])
    assert found.item() == pytest.approx(entropy.item() / math.log(64))
    shifted = losses.map_cross_entropy([maps.roll(1, -1)], target, valid, [kernel])
    assert shifted > 5 * found


@pytest.mark.parametrize("kernel", [1, 2])
def test_the_map_is_read_where_the_network_looks_it_up(kernel: int) -> None:
    """A ramp along x says where a lookup at the target reads it; the weights of the loss must have that mean."""
    target = torch.tensor([[[0.21, -0.4]]], dtype=D)
    ramp = torch.arange(8, dtype=D).expand(1, 1, 8, 1, 8)
    read = lookup_dense(ramp, target, kernel, 1).item()
    maps = torch.zeros(1, 1, 1, 8, 8, dtype=D, requires_grad=True)
    losses.map_cross_entropy([maps], target, torch.ones(1, 1, dtype=torch.bool), [kernel]).backward()
    assert maps.grad is not None
    weights = 1 / 64 - maps.grad[0, 0, 0] * math.log(64)  # the gradient of a softmax's cross-entropy: p - wanted
    assert (weights.sum(0) * torch.arange(8)).sum().item() == pytest.approx(read)


def test_landmarks_outside_the_picture_or_not_valid_leave_the_maps_alone() -> None:
    maps = _normal(1, 2, 3, 8, 8)
    target = torch.tensor([[[0.1, 0.2], [0.3, 1.2], [0.4, 0.1]]], dtype=D)
    found = losses.map_cross_entropy([maps], target, torch.tensor([[True, True, False]]), [1])
    alone = losses.map_cross_entropy([maps[:, :, :1]], target[:, :1], torch.tensor([[True]]), [1])
    assert found.item() == pytest.approx(alone.item())


def test_shape_loss_sees_a_lid_and_no_shift() -> None:
    target = torch.tensor([[[0.0, 0], [1, 0.5], [2, 0], [1, -0.5]]])
    valid = torch.ones(1, 4, dtype=torch.bool)
    assert losses.shape_loss(target + 3, target, valid) < 1e-5
    closed = target * torch.tensor([1.0, 0.0])
    torch.testing.assert_close(losses.shape_loss(closed, target, valid), torch.tensor(0.25))
    wild = target.clone()
    wild[0, 3] = torch.nan
    known = torch.tensor([[True, True, True, False]])
    assert torch.isfinite(losses.shape_loss(target + 1, torch.nan_to_num(wild), known))
    assert losses.shape_loss(target + 1, target, torch.tensor([[True, False, False, False]])) == 0  # one has no shape
