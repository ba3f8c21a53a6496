from __future__ import annotations

import numpy as np
import pytest

from qlot.metrics.faceless import blotches, bounds, shuffled, texture


def test_textures_are_of_several_kinds_and_any_size() -> None:
    pictures = [texture(48, 64, np.random.default_rng(seed)) for seed in range(40)]
    assert all(p.shape == (48, 64, 3) and p.dtype == np.uint8 for p in pictures)
    colours = [len(np.unique(p.reshape(-1, 3), axis=0)) for p in pictures]
    assert {1, 2} < set(colours) and max(colours) > 2500


def test_blotches_are_smooth_and_differ() -> None:
    one, other = (blotches(96, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == (96, 96, 3) and (one != other).any()
    steps = np.abs(np.diff(one.astype(int), axis=0))
    assert np.median(steps) < 16 < np.ptp(one)


@pytest.mark.parametrize("seed", range(3))
def test_tiles_go_where_the_order_says_and_the_rest_stays(seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    order = np.random.default_rng(seed).permutation(6)
    out = shuffled(picture, (3, 5), (8, 10), 3, order)
    for place, source in enumerate(order):
        (y, x), (v, u) = ((3 + 8 * (i // 3), 5 + 10 * (i % 3)) for i in (place, int(source)))
        np.testing.assert_array_equal(out[y : y + 8, x : x + 10], picture[v : v + 8, u : u + 10])
    outside = np.ones((40, 50), bool)
    outside[3:19, 5:35] = False
    np.testing.assert_array_equal(out[outside], picture[outside])


def test_bounds_end_at_the_picture() -> None:
    picture = np.zeros((40, 50, 3), np.uint8)
    assert bounds(picture, 20.0, 10.0, 15.0) == (5, 0, 35, 25)
    assert bounds(picture, 200.0, 10.0, 15.0) == (50, 0, 50, 25)
