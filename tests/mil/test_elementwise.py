from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn import functional as F

from tests.mil import build

few = settings(max_examples=8, deadline=None)

# Each function by another road than the kernel's where there is one: numpy, or the formula of MIL's documentation.
UNARY: dict[str, tuple[Callable[[np.ndarray], Any], float, float]] = {  # reference, and the range of x
    "abs": (np.abs, -3, 3),
    "acos": (np.arccos, -1, 1),
    "asin": (np.arcsin, -1, 1),
    "atan": (np.arctan, -3, 3),
    "atanh": (np.arctanh, -0.9, 0.9),
    "ceil": (np.ceil, -3, 3),
    "cos": (np.cos, -3, 3),
    "cosh": (np.cosh, -3, 3),
    "erf": (lambda x: torch.special.erf(torch.from_numpy(x)).numpy(), -3, 3),
    "exp": (np.exp, -3, 3),
    "exp2": (np.exp2, -3, 3),
    "floor": (np.floor, -3, 3),
    "inverse": (lambda x: 1 / (x + 1e-4), 0.5, 3),
    "log": (np.log, 0.1, 3),
    "relu": (lambda x: np.maximum(x, 0), -3, 3),
    "relu6": (lambda x: np.clip(x, 0, 6), -9, 9),
    "round": (np.round, -3, 3),
    "rsqrt": (lambda x: x**-0.5, 0.1, 3),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -5, 5),
    "sign": (np.sign, -3, 3),
    "silu": (lambda x: x / (1 + np.exp(-x)), -5, 5),
    "sin": (np.sin, -3, 3),
    "sinh": (np.sinh, -3, 3),
    "softplus": (lambda x: np.log1p(np.exp(x)), -5, 5),
    "softsign": (lambda x: x / (1 + np.abs(x)), -5, 5),
    "sqrt": (np.sqrt, 0, 3),
    "square": (np.square, -3, 3),
    "tan": (np.tan, -1, 1),
    "tanh": (np.tanh, -3, 3),
}
WITH_OPTIONS: list[tuple[str, dict[str, Any], Callable[[np.ndarray], Any]]] = [
    ("clamped_relu", {"alpha": 0.3, "beta": 1.2}, lambda x: np.minimum(np.where(x >= 0, x, 0.3 * x), 1.2)),
    ("clip", {"alpha": -0.5, "beta": 1.5}, lambda x: np.clip(x, -0.5, 1.5)),
    ("elu", {"alpha": 0.7}, lambda x: np.where(x > 0, x, 0.7 * (np.exp(x) - 1))),
    ("gelu", {"mode": "EXACT"}, lambda x: F.gelu(torch.from_numpy(x)).numpy()),
    ("gelu", {"mode": "TANH_APPROXIMATION"}, lambda x: F.gelu(torch.from_numpy(x), approximate="tanh").numpy()),
    ("gelu", {"mode": "SIGMOID_APPROXIMATION"}, lambda x: x / (1 + np.exp(-1.702 * x))),
    ("inverse", {"epsilon": 7.0}, lambda x: 1 / (x + 7)),
    ("leaky_relu", {"alpha": 0.2}, lambda x: np.where(x >= 0, x, 0.2 * x)),
    ("linear_activation", {"alpha": 0.2, "beta": 3.0}, lambda x: 0.2 * x + 3),
    ("log", {"epsilon": 7.0}, lambda x: np.log(x + 7)),
    ("prelu", {"alpha": np.float32([0.1, 0.2, 0.3])}, lambda x: np.where(x >= 0, x, x * [[[0.1]], [[0.2]], [[0.3]]])),
    ("rsqrt", {"epsilon": 7.0}, lambda x: (x + 7) ** -0.5),
    ("scaled_tanh", {"alpha": 1.7, "beta": 0.4}, lambda x: 1.7 * np.tanh(0.4 * x)),
    ("sigmoid_hard", {"alpha": 0.3, "beta": 0.4}, lambda x: np.clip(0.3 * x + 0.4, 0, 1)),
    (
        "softplus_parametric",
        {"alpha": np.float32([1, 2, 3]), "beta": np.float32([3, 2, 1])},
        lambda x: np.reshape([1, 2, 3], (3, 1, 1)) * np.log1p(np.exp(x * np.reshape([3, 2, 1], (3, 1, 1)))),
    ),
    ("threshold", {"alpha": 0.4}, lambda x: np.maximum(x, 0.4)),
    ("thresholded_relu", {"alpha": 0.4}, lambda x: np.where(x >= 0.4, x, 0)),
]
BINARY: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "add": np.add,
    "equal": np.equal,
    "floor_div": np.floor_divide,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "not_equal": np.not_equal,
    "pow": np.power,
    "real_div": np.divide,
    "sub": np.subtract,
}


@pytest.mark.parametrize("op", UNARY)
@few
@given(shape=array_shapes(max_dims=4, max_side=5), seed=st.integers(0, 99))
def test_unary(op: str, shape: tuple[int, ...], seed: int) -> None:
    reference, low, high = UNARY[op]
    x = np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)
    (y,) = build.run_op(op, {"x": x})
    assert y.dtype == np.float32
    assert_allclose(y, reference(x.astype(np.float64)), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("op", "options", "reference"), WITH_OPTIONS, ids=lambda v: v if isinstance(v, str) else "")
def test_options_count(op: str, options: dict[str, Any], reference: Callable[[np.ndarray], Any]) -> None:
    x = np.random.default_rng(1).uniform(-4, 4, (2, 3, 4, 5)).astype(np.float32)
    (y,) = build.run_op(op, {"x": x}, **options)
    assert_allclose(y, reference(x.astype(np.float64)), rtol=2e-6, atol=2e-6)
    assert not np.array_equal(y, x)


@pytest.mark.parametrize("op", BINARY)
@few
@given(shapes=mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=4, max_side=4), seed=st.integers(0, 99))
def test_binary_broadcasts(op: str, shapes: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = (np.round(random.uniform(0.5, 4, s), 1).astype(np.float32) for s in shapes.input_shapes)
    (z,) = build.run_op(op, {"x": x, "y": y})
    want = BINARY[op](x, y)
    assert z.shape == want.shape
    assert z.dtype == (np.bool_ if want.dtype == np.bool_ else np.float32)
    assert_allclose(z, want, rtol=2e-6)


def test_division_rounds_down_and_the_remainder_has_the_divisors_sign() -> None:
    x, y = np.float32([7, -7, 7, -7]), np.float32([2, 2, -2, -2])
    assert_array_equal(build.run_op("floor_div", {"x": x, "y": y})[0], [3, -4, -4, 3])
    assert_array_equal(build.run_op("mod", {"x": x, "y": y})[0], [1, 1, -1, -1])


def test_integers_stay_integers() -> None:
    x, y = np.int32([16777217, -5]), np.int32([2, 2])  # the first is no float32
    for op, want in (("add", [16777219, -3]), ("mul", [33554434, -10]), ("sub", [16777215, -7])):
        (z,) = build.run_op(op, {"x": x, "y": y})
        assert z.dtype == np.int32
        assert_array_equal(z, want)


@pytest.mark.parametrize("op", ["logical_and", "logical_or", "logical_xor"])
def test_logic(op: str) -> None:
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert_array_equal(build.run_op(op, {"x": x, "y": y})[0], getattr(np, op)(x, y))


def test_not_and_select() -> None:
    cond = np.array([True, False])
    assert_array_equal(build.run_op("logical_not", {"x": cond})[0], ~cond)
    a, b = np.float32([1, 2]), np.float32([3, 4])
    assert_array_equal(build.run_op("select", {"cond": cond, "a": a, "b": b})[0], [1, 4])


def test_casts_cut_towards_zero() -> None:
    x = np.float32([-1.7, -0.2, 0.0, 0.9, 2.5])
    assert_array_equal(build.run_op("cast", {"x": x}, dtype="int32")[0], [-1, 0, 0, 0, 2])
    assert_array_equal(build.run_op("cast", {"x": x}, dtype="bool")[0], x != 0)
    (half,) = build.run_op("cast", {"x": np.float32([1 / 3, 70000, 1e-9])}, dtype="fp16")
    assert half.dtype == np.float16
    assert_array_equal(half, np.float16([1 / 3, np.inf, 0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_large_softplus_is_its_argument(dtype: Any) -> None:
    x = np.array([[-5, -1], [99, 100], [2000, 0]], dtype).T[None]
    alpha, beta = np.array([1, 2], dtype), np.array([1, 0.5], dtype)
    (y,) = build.run_op("softplus_parametric", {"x": x}, alpha=alpha, beta=beta)
    want = np.float64([1, 2])[:, None] * np.logaddexp(0, np.float64([1, 0.5])[:, None] * x)
    assert_allclose(y, want, rtol=1e-3 if dtype is np.float16 else 1e-6)
