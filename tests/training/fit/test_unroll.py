"""The unrolled network: the same numbers as the deployed one frame by frame, and what the losses make of them."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from qlot.model.correlation import correlation_map, lookup_dense
from qlot.model.qlot import QLOT
from qlot.model.state import TensorState, cold_start
from qlot.training.data.batch import Batch
from qlot.training.fit import losses
from qlot.training.fit.unroll import Chances, Task, Unroll, Weights, _look_up, correlation_maps, with_mirrored
from tests.export.small import SMALL, network

D = torch.float64
PLAIN = Chances(wild=0, near=0, masked=0, reset=0)
ITERATIONS = [3, 1, 2]


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def _model() -> QLOT:
    """Return the small random network in float64, its covariances wide enough for the losses to be of order one."""
    model = copy.deepcopy(network()).double().eval()
    with torch.no_grad():
        model.refiner.covariance.bias.copy_(torch.tensor([-0.5, -0.6, 0.2]))
    return model


def _batch(b: int = 2, frames: int = 3, n: int = 5) -> Batch:
    size = SMALL.image_size
    images = torch.randint(0, 256, (b, frames, 3, size, size), generator=torch.Generator().manual_seed(1))
    valid = torch.ones(b, frames, n, dtype=torch.bool)
    valid[0, 1, 2] = False
    targets = torch.where(valid[..., None], 0.4 * _normal(b, frames, n, 2, seed=2), 0.0)
    return Batch(images.to(torch.uint8), 0.5 * _normal(b, n, 3, seed=3), targets, valid, torch.arange(b) + 7)


def _deployed(
    model: QLOT, batch: Batch, mask: Tensor | None, start: TensorState | None = None
) -> list[list[TensorState]]:
    """Return the states of every step of every frame, as a tracker runs the network."""
    state, frames = start, []
    for frame, count in enumerate(ITERATIONS):
        states = model(batch.images[:, frame].double() / 255, batch.points, state, count, mask=mask)
        frames.append(states)
        state = states[-1]
    return frames


def _check(found: dict[str, Tensor], frames: list[list[TensorState]], batch: Batch, decay: float) -> None:
    """Compare the losses with those of given states: sums over all steps by hand."""
    sums, norm = {"position": 0.0, "covariance": 0.0}, 0.0
    for f, states in enumerate(frames):
        for i, s in enumerate(states):
            at, weight = (batch.targets[:, f], batch.valid[:, f]), decay ** (len(states) - 1 - i)
            sums["position"] += weight * losses.position_loss(s.position, *at).item()
            sums["covariance"] += weight * losses.covariance_loss(s.position, s.covariance, *at).item()
            norm += weight
    path, spread = (torch.stack([getattr(s[-1], k) for s in frames], 1) for k in ("position", "covariance"))
    known = (path, spread, batch.targets, batch.valid)
    expected = {k: v / norm for k, v in sums.items()} | {
        "first_difference": losses.first_difference_loss(*known).item(),
        "second_difference": losses.second_difference_loss(*known).item(),
    }
    assert {k: found[k].item() for k in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kernel", [1, 2])
def test_maps_and_lookup_are_those_of_the_dense_lowering(kernel: int) -> None:
    features, templates = _normal(2, 3, 12, 9, 9), _normal(2, 4, 3, 4, kernel, kernel, seed=1)
    position = 0.8 * _normal(2, 4, 2, seed=2)
    maps = correlation_maps(features, templates)
    for frame in range(3):
        expected = correlation_map(features[:, frame], templates)
        assert torch.allclose(maps[:, frame].permute(0, 2, 3, 1, 4), expected, atol=1e-12)
        patches = _look_up(maps[:, frame], position, kernel, 5)
        assert torch.allclose(patches, lookup_dense(expected, position, kernel, 5).transpose(2, 3), atol=1e-12)


@torch.no_grad()
def test_the_trajectory_is_the_deployed_networks() -> None:
    model, batch, weights = _model(), _batch(), Weights(decay=0.5)
    found = Unroll(model, PLAIN)(Task(batch, ITERATIONS, weights))
    _check(found, _deployed(model, batch, None), batch, 0.5)
    total = sum(getattr(weights, k) * found[k].item() for k in found if k != "total")
    assert found["total"].item() == pytest.approx(total)
    with pytest.raises(AssertionError):  # the negative control: a state that is not carried is noticed
        _check(found, _deployed(model, batch._replace(images=batch.images.flip(1)), None), batch, 0.5)


@torch.no_grad()
def test_masked_landmarks_do_not_write() -> None:
    model, batch = _model(), _batch()
    unroll = Unroll(model, replace(PLAIN, masked=0.5))
    _, mask, forget = unroll._draw(batch)
    assert mask.shape == (2, 5) and 0 < mask.sum() < 10 and not forget.any()
    _check(unroll(Task(batch, ITERATIONS, Weights())), _deployed(model, batch, mask), batch, 0.85)


@torch.no_grad()
def test_a_reset_starts_cold() -> None:
    model, batch = _model(), _batch()
    found = Unroll(model, replace(PLAIN, reset=1.0))(Task(batch, ITERATIONS, Weights()))
    frames = [
        model(batch.images[:, f].double() / 255, batch.points, None, count) for f, count in enumerate(ITERATIONS)
    ]  # every frame from the start
    _check(found, frames, batch, 0.85)


@torch.no_grad()
def test_the_near_start_is_the_truth_with_an_error() -> None:
    model, batch = _model(), _batch()
    batch.valid[1] = False  # nothing to start from: cold
    start, *_ = Unroll(model, replace(PLAIN, near=1.0, near_error=0.0))._draw(batch)
    cold = cold_start(batch.points, SMALL.hidden_width)
    assert torch.equal(start.position[0], batch.targets[0, 0]) and torch.equal(start.position[1], cold.position[1])
    found = Unroll(model, replace(PLAIN, near=1.0, near_error=0.0))(Task(batch, ITERATIONS, Weights()))
    _check(found, _deployed(model, batch, None, start), batch, 0.85)
    off, *_ = Unroll(model, replace(PLAIN, near=1.0, near_error=0.1))._draw(batch)
    error = off.position[0] - batch.targets[0, 0]
    assert 0 < error.abs().max() < 0.6


def test_starts_are_drawn_per_sample_from_its_seed() -> None:
    unroll, batch = Unroll(_model(), replace(PLAIN, wild=1.0, masked=0.5, reset=0.5)), _batch()
    first, second = unroll._draw(batch), unroll._draw(batch)
    assert torch.equal(first[0].position, second[0].position) and torch.equal(first[1], second[1])
    alone = unroll._draw(Batch(*(x[1:] for x in batch)))
    assert torch.equal(alone[0].position[0], first[0].position[1]) and torch.equal(alone[2][0], first[2][1])
    other = unroll._draw(batch._replace(seeds=batch.seeds + 1))
    assert not torch.equal(other[0].position, first[0].position)


@torch.no_grad()
def test_a_clip_without_a_face_counts_in_one_loss_only() -> None:
    unroll, batch, weights = Unroll(_model(), PLAIN), _batch(), Weights(maps=1.0, unsure=0.3)
    assert unroll(Task(batch, ITERATIONS, weights))["unsure"].item() == 0
    nothing = batch._replace(valid=torch.zeros_like(batch.valid), targets=torch.zeros_like(batch.targets))
    found = unroll(Task(nothing, ITERATIONS, weights))
    assert found["unsure"] > 0 and found["total"].item() == pytest.approx(0.3 * found["unsure"].item())
    half = batch._replace(valid=batch.valid & torch.tensor([True, False])[:, None, None])
    faces = unroll(Task(Batch(*(x[:1] for x in half)), ITERATIONS, weights))
    mixed = unroll(Task(half, ITERATIONS, weights))
    for name in ("position", "covariance", "first_difference", "second_difference", "maps"):
        assert mixed[name].item() == pytest.approx(faces[name].item())


def test_gradients_stop_at_the_position_before_and_not_at_the_covariance() -> None:
    model, batch = _model(), _batch()
    unroll = Unroll(model, PLAIN)
    levels, context, queries = unroll._extract(batch)
    start = TensorState(*(x.requires_grad_() for x in cold_start(batch.points, SMALL.hidden_width)))
    mask = torch.zeros(2, 5, dtype=torch.bool)
    after = unroll._refine([level[0] for level in levels], context[0], queries, start, mask)
    after.position.sum().backward()
    assert start.position.grad is None
    assert start.covariance.grad is not None and start.covariance.grad.any() and start.hidden.grad is not None


def test_every_loss_reaches_the_network() -> None:
    """Position, covariance and maps each give the parameters a finite gradient."""
    model, batch = _model(), _batch()
    for name, parameter in (
        ("position", model.refiner.delta.weight),
        ("covariance", model.refiner.covariance.weight),
        ("maps", model.backbone.stem.parameters().__next__()),
    ):
        found = Unroll(model, PLAIN)(Task(batch, [1, 1, 1], Weights(maps=1.0)))
        (gradient,) = torch.autograd.grad(found[name], parameter)
        assert gradient.isfinite().all() and gradient.any()


def test_mirrored_pairs() -> None:
    batch = _batch(b=5)
    pairs = with_mirrored(batch)
    assert len(pairs.images) == 4
    assert torch.equal(pairs.images[2:], pairs.images[:2].flip(-1)) and torch.equal(pairs.images[:2], batch.images[:2])
    assert torch.equal(pairs.targets[2:, ..., 0], -pairs.targets[:2, ..., 0])
    assert torch.equal(pairs.points[2:, :, 1:], pairs.points[:2, :, 1:])
    assert torch.equal(pairs.seeds[2:], pairs.seeds[:2]) and torch.equal(pairs.valid[2:], pairs.valid[:2])
    with pytest.raises(ValueError, match="at least two"):
        with_mirrored(Batch(*(x[:1] for x in batch)))


@torch.no_grad()
def test_the_flip_loss_compares_the_halves() -> None:
    model, batch = _model(), _batch()
    found = Unroll(model, PLAIN)(Task(batch, ITERATIONS, Weights(flip=2.0)))
    pairs = with_mirrored(batch)
    finals = torch.stack([s[-1].position for s in _deployed(model, pairs, None)], 1)
    expected = losses.flip_loss(*finals.chunk(2), batch.valid[:1])
    assert found["flip"].item() == pytest.approx(expected.item(), rel=1e-6) and expected > 1e-3
