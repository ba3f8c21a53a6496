from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.mil import build
from tests.mil.build import OpError

MODES: dict[str, Callable[[Any, Any], Any]] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": max,
    "min": min,
}


def written(data: np.ndarray, pairs: Any, mode: str) -> np.ndarray:
    """Write (place, value) after (place, value)."""
    out = data.astype(np.float64)
    for place, value in pairs:
        out[place] = MODES[mode](out[place], np.float64(value))
    return out


def test_a_scalar_index_takes_one_element_of_a_vector() -> None:
    """What torch models do that read a size: `x.reshape(x.size(0), -1)`."""
    x, mb = build.normal(4), build.mb
    (y,) = build.run(lambda x: mb.add(x=mb.gather(x=x, indices=np.int32(2)), y=np.float32(0)), {"x": x})
    assert y.shape == ()
    assert y == x[2]
    (row,) = build.run(lambda x: mb.gather(x=x, indices=np.int32(-1), axis=1), {"x": x.reshape(2, 2)})
    assert_array_equal(row, x.reshape(2, 2)[:, -1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter(mode: str, axis: int) -> None:
    data, indices = build.normal(3, 4, 3), np.int32([2, 0, 2])  # two updates meet
    shape = [3 if a == axis % 3 else n for a, n in enumerate(data.shape)]
    updates = build.normal(*shape, seed=1)
    feeds = {"data": data, "indices": indices, "updates": updates}
    (y,) = build.run_op("scatter", feeds, axis=axis, mode=mode)
    pairs = []
    for place in itertools.product(*map(range, shape)):
        target = list(place)
        target[axis] = indices[place[axis]]
        pairs.append((tuple(target), updates[place]))
    assert_allclose(y, written(data, pairs, mode), rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_scatter_along_an_axis(mode: str) -> None:
    data, indices = build.normal(2, 4), np.int32([[3, 0, 3], [1, -1, 2]])
    updates = build.normal(2, 3, seed=1)
    feeds = {"data": data, "indices": indices, "updates": updates}
    (y,) = build.run_op("scatter_along_axis", feeds, axis=1, mode=mode)
    pairs = [((i, indices[i, j]), updates[i, j]) for i in range(2) for j in range(3)]
    assert_allclose(y, written(data, pairs, mode), rtol=1e-4)


@pytest.mark.parametrize("mode", ["update", "add", "max"])
def test_scatter_of_slices(mode: str) -> None:
    data, indices = build.normal(3, 4, 2), np.int32([[[0, 1], [2, 3]], [[1, 0], [0, 0]]])
    updates = build.normal(2, 2, 2, seed=1)
    (y,) = build.run_op("scatter_nd", {"data": data, "indices": indices, "updates": updates}, mode=mode)
    pairs = [((*indices[i, j], k), updates[i, j, k]) for i, j, k in itertools.product(range(2), repeat=3)]
    assert_allclose(y, written(data, pairs, mode), rtol=1e-4)


def test_half_precision_sums_are_rounded_once() -> None:
    data, updates = np.float16([2048]), np.float16([1, 1, 1, 1])
    feeds = {"data": data, "indices": np.int32([0, 0, 0, 0]), "updates": updates}
    (y,) = build.run_op("scatter", feeds, mode="add")
    assert y.dtype == np.float16
    assert y == 2052  # one by one, each 1 would be lost


@pytest.mark.parametrize("op", ["scatter", "scatter_along_axis"])
def test_a_scatter_out_of_range_is_an_error(op: str) -> None:
    feeds = {"data": build.normal(3), "indices": np.int32([3]), "updates": build.normal(1)}
    with pytest.raises(OpError, match="out of range: 3 to 3, of 3"):
        build.run_op(op, feeds)


@pytest.mark.parametrize("op", ["gather", "gather_along_axis", "gather_nd"])
def test_negative_indices_are_refused_where_they_are_checked(op: str) -> None:
    x, indices = build.normal(3), np.int32([[-1]] if op == "gather_nd" else [-1])
    feeds = {"x": x, "indices": indices}
    assert build.run_op(op, feeds, validate_indices=False)[0] == x[2]
    with pytest.raises(OpError, match="out of range: -1 to -1, of 3"):
        build.run_op(op, feeds, validate_indices=True)
