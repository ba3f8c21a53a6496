"""Half precision is rounded once per operation, exactly as IEEE arithmetic where there is one rounding to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.mil import build

mb = build.mb
A, B = build.normal(4000, dtype=np.float16), build.normal(4000, seed=1, dtype=np.float16)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "real_div"])
def test_one_operation_is_ieee(op: str) -> None:
    numpy = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "real_div": np.divide}[op]
    (y,) = build.run_op(op, {"x": A, "y": B})
    assert y.dtype == np.float16
    assert_array_equal(y, numpy(A, B))


def test_roots_and_overflow_are_ieee() -> None:
    assert_array_equal(build.run_op("sqrt", {"x": np.abs(A)})[0], np.sqrt(np.abs(A)))
    big = np.float16([60000, -60000, 6e-8])
    with np.errstate(over="ignore", under="ignore"):
        assert_array_equal(build.run_op("mul", {"x": big, "y": big})[0], np.float16([np.inf, np.inf, 0]))


def test_every_operation_of_a_chain_is_rounded() -> None:
    (y,) = build.run(lambda x, y: mb.mul(x=mb.add(x=x, y=y), y=y), {"x": A, "y": B})
    assert_array_equal(y, (A + B) * B)
    once = ((A.astype(np.float32) + B) * B.astype(np.float32)).astype(np.float16)
    assert np.any(y != once)  # rounding only at the end would not pass


def test_sums_are_accumulated_wide_and_rounded_once() -> None:
    x, weight = build.normal(40, 256, dtype=np.float16), build.normal(50, 256, seed=1, dtype=np.float16)
    exact = (x.astype(np.float64) @ weight.astype(np.float64).T).astype(np.float16)
    narrow = np.zeros_like(exact)
    for k in range(256):  # an engine that accumulates in half precision
        narrow += x[:, k, None] * weight[:, k]
    x4, w4 = x[:, :, None, None], weight[:, :, None, None]
    for y in (
        build.run_op("linear", {"x": x}, weight=weight)[0],
        build.run_op("matmul", {"x": x, "y": weight}, transpose_y=True)[0],
        build.run_op("conv", {"x": x4}, weight=w4, pad_type="valid")[0][:, :, 0, 0],
    ):
        assert y.dtype == np.float16
        assert np.mean(y == exact) > 0.98  # float32 sums seldom change the rounding
    assert np.mean(narrow == exact) < 0.5


def test_a_constant_feeds_narrow_and_wide_operations() -> None:
    c = build.normal(2, 3, seed=2, dtype=np.float16)
    x = build.normal(2, 3, dtype=np.float16)
    body = lambda x: mb.concat(values=(mb.mul(x=x, y=c), mb.identity(x=mb.const(val=c))), axis=0)  # noqa: E731
    (y,) = build.run(body, {"x": x})
    assert y.dtype == np.float16
    assert_array_equal(y, np.concatenate([x * c, c]))


def test_a_small_epsilon_is_lost_in_half_precision_as_the_program_stores_it() -> None:
    x = np.zeros(3, np.float16)
    (y,) = build.run_op("rsqrt", {"x": x}, epsilon=np.float16(1e-12))
    assert_array_equal(y, np.full(3, np.inf, np.float16))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [None, 1])
def test_quantise_and_back(dtype: str, axis: int | None) -> None:
    x = build.normal(2, 3, 40) * 3
    scale: Any = np.float32(0.05) if axis is None else np.float32([0.05, 0.1, 0.02])
    shift = {"int8": -3, "uint8": 100}[dtype]
    zero: Any = np.array(shift, dtype) if axis is None else np.array([shift, shift + 2, shift - 5], dtype)
    options = {"scale": scale, "zero_point": zero} | ({} if axis is None else {"axis": axis})

    def body(x: Any) -> Any:
        q = mb.quantize(input=x, output_dtype=dtype, **options)
        return mb.cast(x=q, dtype="int32"), mb.dequantize(input=q, **options)

    levels, back = build.run(body, {"x": x})
    s, z = (np.reshape(v, -1)[:, None] for v in (scale, zero.astype(np.int64)))
    info = np.iinfo(dtype)
    want = np.clip(np.rint(x / s) + z, info.min, info.max)
    assert_array_equal(levels, want)
    assert_array_equal(back, ((want - z) * s).astype(np.float32))
    assert {info.min, info.max} & set(np.unique(levels).tolist())  # something was clipped
