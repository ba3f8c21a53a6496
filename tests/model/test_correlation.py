"""The two lowerings of correlation and lookup against each other and against torch's grid_sample."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from qlot.model.correlation import block_diagonal, correlation_map, lookup_windowed, windowed_level
from qlot.model.qlot import look_up

WINDOW = 5


def oracle(features: Tensor, template: Tensor, position: Tensor, window: int) -> Tensor:
    """The definition, landmark by landmark: correlate, then grid_sample with border padding."""
    (b, c, w, _), (_, n, k, _, r, _) = features.shape, template.shape
    size = w - r + 1
    out = features.new_zeros(b, n, k, window, window)
    steps = torch.linspace(-1, 1, window, dtype=features.dtype) * (window - 1) / size
    for i in range(b):
        for j in range(n):
            maps = F.conv2d(features[i : i + 1], template[i, j].reshape(k, c // k, r, r), groups=k)
            centre = position[i, j] * w / size
            y, x = torch.meshgrid(centre[1] + steps, centre[0] + steps, indexing="ij")
            grid = torch.stack([x, y], -1)[None]
            out[i, j] = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[0]
    return out


def both(features: Tensor, template: Tensor, position: Tensor, window: int = WINDOW) -> tuple[Tensor, Tensor]:
    dense = look_up((correlation_map(features, template),), (template,), position, window, "dense")[0]
    return dense, look_up((windowed_level(features, template),), (template,), position, window, "windowed")[0]


def random_case(seed: int, width: int, kernel: int, heads: int, batch: int, n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, 4 * heads, width, width, generator=generator, dtype=torch.float64)
    return features, torch.randn(batch, n, heads, 4, kernel, kernel, generator=generator, dtype=torch.float64)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    kernel, batch = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    width, n = draw(st.integers(WINDOW + kernel, 15)), draw(st.integers(1, 3))
    features, template = random_case(draw(st.integers(0, 99)), width, kernel, draw(st.integers(1, 3)), batch, n)
    centres = st.integers(-3, width + 3).map(lambda k: (k + 0.5) * 2 / width - 1)  # exactly on a pixel
    edges = st.sampled_from([-1.0, 1.0, 0.0, -2.0, 2.0, -1 + 1 / width, 1 - 1 / width])
    one = st.one_of(centres, edges, st.floats(-1.5, 1.5), st.floats(-40, 40))
    position = draw(st.lists(one, min_size=batch * n * 2, max_size=batch * n * 2))
    return features, template, torch.tensor(position, dtype=torch.float64).reshape(batch, n, 2)


@settings(max_examples=80, deadline=None)
@given(cases())
def test_both_lowerings_are_the_definition(case: tuple[Tensor, Tensor, Tensor]) -> None:
    features, template, position = case
    wanted = oracle(features, template, position, WINDOW)
    for found in both(features, template, position):
        torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)
    scale = float(correlation_map(features, template).abs().max())
    dense, windowed = both(features.float(), template.float(), position.float())
    torch.testing.assert_close(windowed, dense, atol=1e-5 * scale, rtol=0)
    torch.testing.assert_close(dense.double(), wanted, atol=2e-4 * scale, rtol=0)  # float32 positions up to 40


@pytest.mark.parametrize("window", [3, 4, 7])
def test_other_windows(window: int) -> None:
    features, template = random_case(0, 13, 2, 2, 2, 4)
    position = torch.linspace(-1.4, 1.4, 16, dtype=torch.float64).reshape(2, 4, 2)
    for found in both(features, template, position, window):
        torch.testing.assert_close(found, oracle(features, template, position, window), atol=1e-10, rtol=0)


def test_the_smallest_map_that_holds_a_window() -> None:
    features, template = random_case(1, WINDOW + 2, 2, 3, 1, 5)
    position = torch.linspace(-2, 2, 10, dtype=torch.float64).reshape(1, 5, 2)
    dense, windowed = both(features, template, position)
    torch.testing.assert_close(windowed, dense, atol=1e-10, rtol=0)


def test_levels_are_looked_up_independently() -> None:
    cases = [
        random_case(i, width, kernel, heads, 2, 3) for i, (width, kernel, heads) in enumerate([(12, 2, 2), (7, 1, 3)])
    ]
    position = torch.linspace(-1.2, 1.2, 12, dtype=torch.float64).reshape(2, 3, 2)
    levels = [windowed_level(f, t) for f, t in cases]
    assert [x.ndim for x in levels] == [3, 4]  # feature pixels and a map
    together = look_up(tuple(levels), tuple(t for _, t in cases), position, WINDOW, "windowed")
    for found, (features, template) in zip(together, cases, strict=True):
        torch.testing.assert_close(found, oracle(features, template, position, WINDOW), atol=1e-10, rtol=0)


def test_the_last_axis_is_x() -> None:
    features = torch.zeros(1, 1, 9, 9)
    features[0, 0, 4, 5] = 1  # one pixel right of the centre
    for found in both(features, torch.ones(1, 1, 1, 1, 1, 1), torch.zeros(1, 1, 2)):
        assert found[0, 0, 0].nonzero().tolist() == [[2, 3]]


def test_far_outside_is_the_border() -> None:
    features, template = random_case(2, 9, 1, 1, 1, 1)
    corner = correlation_map(features, template)[0, 0, -1, 0, 0]
    for found in both(features, template, torch.tensor([[[-1e30, math.inf]]], dtype=torch.float64)):
        torch.testing.assert_close(found, corner.expand_as(found), atol=1e-10, rtol=0)


def test_points_may_come_in_pixels_from_the_centre() -> None:
    features, template = random_case(5, 12, 1, 2, 2, 3)
    position = torch.linspace(-1.3, 1.3, 12, dtype=torch.float64).reshape(2, 3, 2)
    level, points = windowed_level(features, template), position.flatten(0, 1).T
    normalised = lookup_windowed([level], [template], points, WINDOW)
    assert normalised.shape == (2, WINDOW, WINDOW, 6)
    pixels = lookup_windowed([level], [template], points * 56, WINDOW, size=112)
    torch.testing.assert_close(pixels, normalised, atol=1e-10, rtol=0)


def test_a_wrong_position_scale_would_be_seen() -> None:
    """Level 0 has a 2x2 kernel: positions scale with the feature map's width, not with the correlation map's."""
    features, template = random_case(3, 13, 2, 2, 1, 4)
    position = torch.full((1, 4, 2), 0.8, dtype=torch.float64)
    wrong = look_up((correlation_map(features, template),), (template,), position * 12 / 13, WINDOW, "dense")[0]
    assert (wrong - oracle(features, template, position, WINDOW)).abs().max() > 0.1


def test_block_diagonal() -> None:
    blocks = torch.randn(2, 3, 4, 5)
    x = torch.randn(2, 3, 4)
    wanted = torch.einsum("bki,bkij->bkj", x, blocks).flatten(1)
    found = (x.flatten(1)[:, None] @ block_diagonal(blocks))[:, 0]
    torch.testing.assert_close(found, wanted)
    assert math.prod(block_diagonal(blocks).shape) == 2 * 12 * 15
