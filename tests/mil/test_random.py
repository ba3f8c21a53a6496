from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from tests.mil import build

SHAPE = [100, 200]


def draw(op: str, seed: int, **options: Any) -> np.ndarray:
    (y,) = build.run_op(op, {"shape": np.int32(SHAPE)}, seed=seed, **options)
    return y


@pytest.mark.parametrize(
    ("op", "options", "mean", "deviation"),
    [
        ("random_normal", {"mean": np.float32(3), "stddev": np.float32(2)}, 3, 2),
        ("random_uniform", {"low": np.float32(-1), "high": np.float32(5)}, 2, 6 / 12**0.5),
        ("random_bernoulli", {"prob": np.float32(0.25)}, 0.25, 0.1875**0.5),
    ],
)
def test_distributions(op: str, options: dict[str, Any], mean: float, deviation: float) -> None:
    torch.manual_seed(0)
    y = draw(op, -1, **options)
    assert y.shape == tuple(SHAPE)
    assert abs(y.mean() - mean) < 5 * deviation / y.size**0.5
    assert abs(y.std() / deviation - 1) < 0.05
    assert not np.array_equal(y, draw(op, -1, **options))
    assert_array_equal(draw(op, 7, **options), draw(op, 7, **options))


@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_classes_are_drawn_as_often_as_they_are_likely(mode: str) -> None:
    shares = np.float32([[0.1, 0.6, 0.3], [0, 1, 0]])
    x = np.log(shares + 1e-30).astype(np.float32) if mode == "logits" else shares
    (y,) = build.run_op("random_categorical", {"x": x}, mode=mode, size=5000, seed=1)
    counts = [np.bincount(row.astype(int), minlength=3) / 5000 for row in y]
    assert np.abs(np.array(counts) - shares).max() < 0.03
