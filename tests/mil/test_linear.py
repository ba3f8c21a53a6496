from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch.nn import functional as F

from tests.mil import build
from tests.mil.build import OpError

few = settings(max_examples=20, deadline=None)
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def close(a: np.ndarray, b: Any) -> None:
    assert_allclose(a, np.asarray(b), rtol=1e-5, atol=1e-5)


def torch64(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(a.astype(np.float64)) for a in arrays]


@few
@given(data=st.data(), axes=st.integers(1, 3), groups=st.integers(1, 3), bias=st.booleans())
def test_convolution_with_uneven_padding(data: Any, axes: int, groups: int, bias: bool) -> None:
    def each(low: int, high: int) -> list[int]:
        return [data.draw(st.integers(low, high)) for _ in range(axes)]

    kernel, strides, dilations, sizes = each(1, 3), each(1, 3), each(1, 2), each(5, 8)
    pad = [data.draw(st.integers(0, 2)) for _ in range(2 * axes)]
    x = build.normal(2, 2 * groups, *sizes)
    weight, b = build.normal(3 * groups, 2, *kernel, seed=1), build.normal(3 * groups, seed=2)
    options: dict[str, Any] = {"strides": strides, "dilations": dilations, "groups": groups, "pad": pad}
    options |= {"bias": b} if bias else {}
    (y,) = build.run_op("conv", {"x": x}, weight=weight, pad_type="custom", **options)
    x64, w64, b64 = torch64(x, weight, b)
    padded = F.pad(x64, [p for i in reversed(range(axes)) for p in pad[2 * i : 2 * i + 2]])
    close(y, CONV[axes](padded, w64, b64 if bias else None, strides, 0, dilations, groups))


@pytest.mark.parametrize(("pad_type", "extra"), [("same", "after"), ("same_lower", "before")])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 2, 1), (8, 3, 2), (9, 4, 3), (5, 1, 2)])
def test_same_padding_puts_the_odd_pixel_where_it_says(
    pad_type: str, extra: str, size: int, kernel: int, stride: int
) -> None:
    x, weight = build.normal(1, 1, size), build.normal(1, 1, kernel, seed=1)
    (y,) = build.run_op("conv", {"x": x}, weight=weight, pad_type=pad_type, strides=[stride])
    assert y.shape[-1] == -(-size // stride)
    total = max(0, (y.shape[-1] - 1) * stride + kernel - size)
    before = total // 2 if extra == "after" else total - total // 2
    x64, w64 = torch64(x, weight)
    close(y, F.conv1d(F.pad(x64, (before, total - before)), w64, stride=stride))


def test_a_computed_weight() -> None:
    x, weight = build.normal(1, 2, 5, 5), build.normal(3, 2, 3, 3, seed=1)
    (y,) = build.run_op("conv", {"x": x, "weight": weight}, pad_type="valid")
    close(y, F.conv2d(*torch64(x, weight)))


@few
@given(data=st.data(), axes=st.integers(1, 2), groups=st.integers(1, 2))
def test_transposed_convolution(data: Any, axes: int, groups: int) -> None:
    kernel, strides = ([data.draw(st.integers(2, 3)) for _ in range(axes)] for _ in range(2))
    padding, extra = ([data.draw(st.integers(0, 1)) for _ in range(axes)] for _ in range(2))
    x, weight = build.normal(1, 2 * groups, *[4] * axes), build.normal(2 * groups, 3, *kernel, seed=1)
    b = build.normal(3 * groups, seed=2)
    want = TRANSPOSED[axes](*torch64(x, weight, b), strides, padding, extra, groups).numpy()
    pad = [p for p in padding for _ in range(2)]
    options = {"output_shape": want.shape} if any(extra) else {}
    (y,) = build.run_op(
        "conv_transpose",
        {"x": x}, weight=weight, bias=b, pad=pad, pad_type="custom", strides=strides, groups=groups, **options,
    )  # fmt: skip
    close(y, want)


@few
@given(data=st.data(), axes=st.integers(1, 3), ceil=st.booleans(), exclude=st.booleans())
def test_pooling(data: Any, axes: int, ceil: bool, exclude: bool) -> None:
    ceil = ceil and axes < 3  # MIL has no other
    kernel = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    strides = [data.draw(st.integers(1, k if ceil else 3)) for k in kernel]
    half = [data.draw(st.integers(0, k // 2)) for k in kernel]
    x = build.normal(2, 3, *[data.draw(st.integers(4, 7)) for _ in range(axes)])
    options = {"kernel_sizes": kernel, "strides": strides, "pad": [p for p in half for _ in range(2)]}
    options |= {"pad_type": "custom", "ceil_mode": ceil}
    (x64,) = torch64(x)
    maximum = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[axes]
    average = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[axes]
    close(build.run_op("max_pool", {"x": x}, **options)[0], maximum(x64, kernel, strides, half, ceil_mode=ceil))
    (y,) = build.run_op("avg_pool", {"x": x}, exclude_padding_from_average=exclude, **options)
    close(y, average(x64, kernel, strides, half, ceil, not exclude))


def test_a_pooling_window_outside_the_input_is_an_error() -> None:
    """MIL declares it, PyTorch has none, and what Core ML would put there is not known."""
    options = {"kernel_sizes": [1], "strides": [3], "pad_type": "valid", "ceil_mode": True}
    with pytest.raises(OpError, match=r"came out as \(1, 1, 2\); the program declares float32 \(1, 1, 3\)"):
        build.run_op("max_pool", {"x": build.normal(1, 1, 5)}, **options)


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize("ceil", [True, False])
def test_padding_above_half_a_window(exclude: bool, ceil: bool) -> None:
    x, pads = build.normal(1, 2, 5, 4), [2, 2, 1, 1]
    options = {"kernel_sizes": [3, 2], "strides": [2, 1], "pad_type": "custom", "pad": pads, "ceil_mode": ceil}
    (x64,) = torch64(x)
    whole = F.pad(x64, (1, 1, 2, 2), value=-np.inf)
    close(build.run_op("max_pool", {"x": x}, **options)[0], F.max_pool2d(whole, (3, 2), (2, 1)))
    counted = F.pad(torch.ones_like(x64), (1, 1, 2, 2), value=0.0 if exclude else 1.0)
    mean, share = (F.avg_pool2d(m, (3, 2), (2, 1)) for m in (F.pad(x64, (1, 1, 2, 2)), counted))
    if not exclude:
        (y,) = build.run_op("avg_pool", {"x": x}, **options)
        close(y, mean / share)
    (y,) = build.run_op("l2_pool", {"x": x}, **options)
    close(y, (F.avg_pool2d(F.pad(x64**2, (1, 1, 2, 2)), (3, 2), (2, 1)) * 6).sqrt())


@pytest.mark.parametrize("sizes", [(5,), (5, 4)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 3), (4, 1)])
def test_transposed_convolution_of_same_padding_is_the_gradient(
    sizes: tuple[int, ...], kernel: int, stride: int
) -> None:
    axes = len(sizes)
    x, weight = build.normal(1, 2, *sizes), build.normal(2, 3, *[kernel] * axes, seed=1)
    b = build.normal(3, seed=2)
    options = {"pad_type": "same", "strides": [stride] * axes, "bias": b}
    (y,) = build.run_op("conv_transpose", {"x": x}, weight=weight, **options)
    assert y.shape == (1, 3, *(n * stride for n in sizes))
    x64, w64, b64 = torch64(x, weight, b)
    start = torch.zeros(y.shape, dtype=torch.float64, requires_grad=True)
    total = max(0, kernel - stride) if sizes else 0
    less = total // 2
    there = CONV[axes](F.pad(start, [less, total - less] * axes), w64, stride=stride)
    there.backward(x64)
    close(y, start.grad + b64.reshape(-1, *[1] * axes))


@pytest.mark.parametrize("exclude", [True, False])
def test_uneven_pooling_by_hand(exclude: bool) -> None:
    x = np.float32([[[-4.0, -2.0, -6.0]]])
    options = {"kernel_sizes": [2], "strides": [2], "pad_type": "custom", "pad": [0, 1]}
    assert build.run_op("max_pool", {"x": x}, **options)[0].tolist() == [[[-2.0, -6.0]]]
    (mean,) = build.run_op("avg_pool", {"x": x}, exclude_padding_from_average=exclude, **options)
    assert mean.tolist() == [[[-3.0, -6.0 if exclude else -3.0]]]


@few
@given(data=st.data())
def test_matmul(data: Any) -> None:
    i, j, k = (data.draw(st.integers(1, 5)) for _ in range(3))
    batch = data.draw(st.sampled_from([(), (2,), (1, 3), (2, 1)]))
    left, right = data.draw(st.booleans()), data.draw(st.booleans())
    x, y = build.normal(*batch, i, k), build.normal(*batch[1:], k, j, seed=1)
    feeds = {"x": np.swapaxes(x, -1, -2).copy() if left else x, "y": np.swapaxes(y, -1, -2).copy() if right else y}
    close(build.run_op("matmul", feeds, transpose_x=left, transpose_y=right)[0], x.astype(np.float64) @ y)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    x, weight, b = build.normal(2, 3, 4), build.normal(5, 4, seed=1), build.normal(5, seed=2)
    (y,) = build.run_op("linear", {"x": x}, weight=weight, **({"bias": b} if bias else {}))
    close(y, x.astype(np.float64) @ weight.T + (b if bias else 0))


def test_products_of_floats_and_integers() -> None:
    x, y = build.normal(2, 3), np.int32([[1, -2], [3, 4], [0, 5]])
    (z,) = build.run_op("matmul", {"x": x}, y=y)
    assert z.dtype == np.float32
    close(z, x.astype(np.float64) @ y)
    (z,) = build.run_op("linear", {"x": x}, weight=np.int32([[1, 2, 3]]), bias=np.int32([7]))
    close(z, x.astype(np.float64) @ [[1], [2], [3]] + 7)
    (z,) = build.run_op("matmul", {"x": y.T, "y": y})
    assert z.dtype == np.int32
    close(z, y.T @ y)


def test_einsum() -> None:
    x, y = build.normal(2, 3, 4, 5), build.normal(2, 5, 4, 6, seed=1)
    (z,) = build.run(lambda x, y: build.mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"), {"x": x, "y": y})
    close(z, np.einsum("nchw,nwhu->nchu", x.astype(np.float64), y))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(axis: int) -> None:
    x = build.normal(3, 4, 5) * 10
    e = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    close(build.run_op("softmax", {"x": x}, axis=axis)[0], e / e.sum(axis, keepdims=True))


@few
@given(data=st.data(), affine=st.booleans())
def test_layer_norm_over_any_axes(data: Any, affine: bool) -> None:
    x = build.normal(2, 3, 4, 5) + 1
    axes = sorted(data.draw(st.sets(st.integers(0, 3), min_size=1, max_size=3)))
    assume(np.prod([x.shape[a] for a in axes]) > 1)
    shape = [x.shape[a] for a in axes]
    gamma, beta = build.normal(*shape, seed=1), build.normal(*shape, seed=2)
    options = {"gamma": gamma, "beta": beta} if affine else {}
    (y,) = build.run_op("layer_norm", {"x": x}, axes=axes, epsilon=0.01, **options)
    x64 = x.astype(np.float64)
    want = (x64 - x64.mean(tuple(axes), keepdims=True)) / np.sqrt(x64.var(tuple(axes), keepdims=True) + 0.01)
    full = [x.shape[a] if a in axes else 1 for a in range(4)]
    close(y, want * gamma.reshape(full) + beta.reshape(full) if affine else want)


def test_other_norms() -> None:
    x = build.normal(2, 3, 4, 5) + 1
    x64 = x.astype(np.float64)
    mean, variance, gamma, beta = (np.abs(build.normal(3, seed=s)) for s in range(4))
    (y,) = build.run_op("batch_norm", {"x": x}, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=0.1)
    c = (3, 1, 1)
    want = (x64 - mean.reshape(c)) / np.sqrt(variance.reshape(c) + 0.1) * gamma.reshape(c) + beta.reshape(c)
    close(y, want)
    (y,) = build.run_op("instance_norm", {"x": x}, gamma=gamma, beta=beta, epsilon=0.1)
    centred = x64 - x64.mean((2, 3), keepdims=True)
    want = centred / np.sqrt(x64.var((2, 3), keepdims=True) + 0.1) * gamma.reshape(c) + beta.reshape(c)
    close(y, want)
    (y,) = build.run_op("l2_norm", {"x": x}, epsilon=0.1)
    close(y, x64 / np.sqrt((x64**2).sum((1, 2, 3), keepdims=True) + 0.1))


def test_a_norm_of_one_element_is_its_offset() -> None:
    x, beta = build.normal(2, 3, 1, 1), build.normal(3, seed=1)
    gamma = build.normal(3, seed=2)
    (y,) = build.run_op("instance_norm", {"x": x}, gamma=gamma, beta=beta)
    close(y, np.broadcast_to(beta[:, None, None], x.shape))


def test_statistics_of_another_precision_than_epsilon() -> None:
    """coremltools writes such a program where epsilon is left out, and cannot read it."""
    mb, x = build.mb, build.normal(2, 3, 4, dtype=np.float16)
    mean, variance = np.float16([0.5, 1, -1]), np.float16([1, 2, 0.5])
    model = build.model(lambda x: mb.batch_norm(x=x, mean=mean, variance=variance), {"x": x})
    (y,) = build.from_model(model).run({"x": x}).values()
    want = (x.astype(np.float64) - mean[:, None]) / np.sqrt(variance[:, None].astype(np.float64) + 1e-5)
    assert_allclose(y, want, atol=2e-3)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_local_response_norm(size: int) -> None:
    x = build.normal(2, 4, 3, 2)
    (y,) = build.run_op("local_response_norm", {"x": x}, size=size, alpha=0.5, beta=0.6, k=0.7)
    close(y, F.local_response_norm(torch64(x)[0], size, 0.5, 0.6, 0.7))


@pytest.mark.parametrize("masked", [True, False])
def test_attention(masked: bool) -> None:
    q, k, v = build.normal(1, 2, 3, 8), build.normal(1, 2, 5, 8, seed=1), build.normal(1, 2, 5, 4, seed=2)
    mask = np.random.default_rng(3).random((1, 1, 3, 5)) < 0.6
    mask[..., 0] = True
    feeds = {"query": q, "key": k, "value": v} | ({"attn_mask": mask} if masked else {})
    (y,) = build.run_op("scaled_dot_product_attention", feeds, build.ct.target.iOS18)
    scores = q.astype(np.float64) @ np.swapaxes(k, -1, -2) / np.sqrt(8)
    e = np.exp(np.where(mask, scores, -np.inf) if masked else scores)
    close(y, e / e.sum(-1, keepdims=True) @ v)
