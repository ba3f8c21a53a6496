"""The deployed form computes what the network computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from qlot.model.backbone import ConvNormAct, LearnableAffine
from qlot.model.config import PRESETS
from qlot.model.fuse import (
    ConvClamp,
    FusedQLOT,
    depthwise_ones,
    fewer_convolutions,
    fuse,
    pointwise,
    pointwise_matrix,
    shuffled,
)
from qlot.model.fuse_refiner import by_head, chained, headed
from qlot.model.layers import ChannelShuffle, HeadedLinear
from qlot.model.layout import load_layout
from qlot.model.qlot import QLOT, Lowering, run
from qlot.model.refiner import Update
from qlot.model.state import TensorState, cold_start, from_pixels, to_pixels
from tests.conformance import networks

SIZE = 96
POINTS = torch.tensor(load_layout("wflw98").points[::4], dtype=torch.float64)
MASK = torch.arange(len(POINTS)) % 4 == 1
LABS = [(0.8, 0.3), (0.7, -0.2), (-0.6, 0.25), (-0.9, -0.3), (0.0, 0.2), (0.0, -0.1)]  # scale, bias


def perturbed(lowering: Lowering) -> QLOT:
    """Seeded, with learnable affine blocks of every sign."""
    model = networks.seeded_network(lowering).double()
    blocks = [m for m in model.modules() if isinstance(m, LearnableAffine)]
    assert len(blocks) > len(LABS)
    for i, block in enumerate(blocks):
        scale, bias = LABS[i % len(LABS)] if i % 3 == 0 else (1.2, 0.1 * (-1) ** i)
        nn.init.constant_(block.scale, scale)
        nn.init.constant_(block.bias, bias)
    return model


def track(model: QLOT | FusedQLOT, mask: Tensor | None = None) -> Tensor:
    """Three steps from a cold start: (3, N, 7 + hidden) in pixels."""
    points, size = POINTS[None].to(next(model.parameters()).dtype), model.config.image_size
    image = networks.test_image(size).to(points)
    if isinstance(model, FusedQLOT):
        features = model.extract(image)

        def refine(state: TensorState) -> Update:
            update = model.refine(features, to_pixels(state, size), state.hidden)
            found = torch.cat([update.delta, update.covariance, update.delta], -1)
            normalised = from_pixels(found, update.hidden, size)
            return Update(normalised.delta, normalised.covariance, normalised.hidden)

        states = run(refine, cold_start(points, model.config.hidden_width), 3, None)
    else:
        states = model(image, points, iterations=3, mask=None if mask is None else mask[None])
    return torch.cat([torch.cat([to_pixels(s, size), s.hidden], -1) for s in states])


@torch.no_grad()
@pytest.mark.parametrize("lowering", ["dense", "windowed"])
@pytest.mark.parametrize("mask", [None, MASK, torch.ones_like(MASK)], ids=["all write", "some write", "none writes"])
def test_fused_is_the_same_function(lowering: Lowering, mask: Tensor | None) -> None:
    model = perturbed(lowering)
    wanted = track(model, mask)
    torch.testing.assert_close(track(fuse(model, POINTS, mask=mask, lowering=lowering)), wanted, atol=1e-6, rtol=0)
    single = fuse(model.float(), POINTS, mask=mask, lowering=lowering)
    torch.testing.assert_close(track(single).double(), wanted, atol=2e-3, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("lowering", ["dense", "windowed"])
def test_so_is_a_network_without_gathered_levels(lowering: Lowering) -> None:
    torch.manual_seed(0)
    model = QLOT(PRESETS["nano"], lowering).double().eval()
    for name, value in model.named_parameters():
        if not name.startswith("encoding"):
            nn.init.normal_(value, value.mean().item(), max(0.1, value.std().item()) if value.numel() > 1 else 0.1)
    wanted = track(model)
    assert (wanted[..., :2] - track(model)[0, :, :2]).abs().max() > 0.5  # it moves
    torch.testing.assert_close(track(fuse(model, POINTS, lowering=lowering)), wanted, atol=1e-6, rtol=1e-9)


@torch.no_grad()
def test_the_comparison_sees_what_could_go_wrong() -> None:
    model = perturbed("windowed")
    wanted = track(model, MASK)
    assert (track(fuse(model, POINTS)) - wanted).abs().max() > 0.02  # no mask
    fused = fuse(model, POINTS, mask=MASK)
    next(m for m in fused.backbone.modules() if isinstance(m, ConvClamp) and m.high is not None).high = None
    assert (track(fused) - wanted).abs().max() > 0.02
    fused = fuse(model, POINTS, mask=MASK)
    fused.mean.zero_()
    assert (track(fused) - wanted).abs().max() > 0.02
    fused = fuse(model, POINTS, mask=MASK)
    fused.refiner.mixer.slot_qkv.bias.zero_()
    assert (track(fused) - wanted).abs().max() > 1e-4  # a small part of a small path, a hundred times the tolerance


def test_the_model_is_left_alone() -> None:
    model = perturbed("dense").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fuse(model, POINTS, mask=MASK)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_batch_statistics_play_no_part() -> None:
    model = perturbed("windowed")
    with torch.no_grad():
        wanted = track(fuse(model, POINTS))
        assert torch.equal(track(fuse(model.train(), POINTS)), wanted)


def test_nothing_is_left_to_fold() -> None:
    fused = fuse(perturbed("windowed"), POINTS)
    assert not [m for m in fused.modules() if isinstance(m, (nn.BatchNorm2d, LearnableAffine, ConvNormAct))]
    assert not any(p.requires_grad for p in fused.parameters())


@torch.no_grad()
@pytest.mark.parametrize(("scale", "bias"), LABS)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_clamp_replaces_relu_and_affine(scale: float, bias: float, stride: int) -> None:
    torch.manual_seed(0)
    block = ConvNormAct(6, 8, 3, stride, groups=2).double().eval()
    for value in (block.bn.running_mean, block.bn.weight, block.bn.bias):
        nn.init.normal_(value)
    nn.init.uniform_(block.bn.running_var, 0.3, 3)
    nn.init.constant_(block.lab.scale, scale)
    nn.init.constant_(block.lab.bias, bias)
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(ConvClamp(block)(x), block(x), atol=1e-7, rtol=0)  # the bound is kept in float32


@torch.no_grad()
@pytest.mark.parametrize(("pixels", "convolutions"), [(9, 1), (10**6, 2)])
def test_a_lateral_projection_needs_no_shuffle(pixels: int, convolutions: int) -> None:
    first, second = (nn.Conv2d(*w, 1, groups=4, bias=False).double() for w in ((80, 24), (24, 16)))
    shuffle, x = ChannelShuffle(4), torch.randn(2, 80, 3, 3, dtype=torch.float64)
    fused = fewer_convolutions(nn.Sequential(first, shuffle, second), pixels)
    assert len([m for m in fused.modules() if isinstance(m, nn.Conv2d)]) == convolutions
    torch.testing.assert_close(fused(x), second(shuffle(first(x))))
    assert (fused(x) - second(first(x))).abs().max() > 0.1  # no shuffle


@torch.no_grad()
def test_a_shuffle_goes_into_the_convolution_before_it() -> None:
    conv, shuffle = nn.Conv2d(24, 16, 1, groups=4, bias=False).double(), ChannelShuffle(4)
    x = torch.randn(2, 24, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(pointwise(shuffled(pointwise_matrix(conv), shuffle))(x), shuffle(conv(x)))


@torch.no_grad()
def test_a_convolution_by_one_changes_nothing() -> None:
    x = torch.randn(2, 16, 5, 5)
    assert torch.equal(depthwise_ones(nn.Conv2d(3, 16, 3))(x), x)


@torch.no_grad()
def test_two_headed_layers_are_one() -> None:
    value, slots = nn.Linear(6, 8).double(), HeadedLinear(2, 4, 5).double()
    nn.init.normal_(slots.bias)
    x = torch.randn(3, 6, dtype=torch.float64)
    wanted = slots(value(x).unflatten(-1, (2, 4)).transpose(0, 1))
    torch.testing.assert_close(headed(*chained(by_head(value, 2), slots))(x), wanted)
