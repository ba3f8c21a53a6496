from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn import functional as F

from tests.mil import build
from tests.mil.build import OpError

few = settings(max_examples=25, deadline=None)
X = build.normal(2, 3, 4, 5)

MOVES: list[tuple[str, dict[str, Any], Callable[[np.ndarray], Any]]] = [
    ("band_part", {"lower": 1, "upper": 2}, lambda x: np.triu(np.tril(x, 2), -1)),
    ("band_part", {"lower": -1, "upper": 0}, np.tril),
    ("expand_dims", {"axes": [-1, 1]}, lambda x: x[:, None, ..., None]),
    ("flatten2d", {"axis": 2}, lambda x: x.reshape(6, 20)),
    ("identity", {}, lambda x: x),
    (
        "pad",
        {"pad": [1, 2, 0, 3], "constant_val": 7.0},
        lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (0, 3)], constant_values=7),
    ),
    ("pad", {"pad": [1, 2, 3, 1], "mode": "reflect"}, lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (3, 1)], "reflect")),
    ("pad", {"pad": [1, 2, 3, 1], "mode": "replicate"}, lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (3, 1)], "edge")),
    ("reshape", {"shape": [4, -1, 5]}, lambda x: x.reshape(4, 6, 5)),
    ("reverse", {"axes": [1, -1]}, lambda x: x[:, ::-1, :, ::-1]),
    ("slice_by_size", {"begin": [0, 1, -3, 0], "size": [2, 1, 2, -1]}, lambda x: x[:, 1:2, 1:3]),
    ("tile", {"reps": [1, 2, 1, 3]}, lambda x: np.tile(x, (1, 2, 1, 3))),
    ("transpose", {"perm": [2, 0, 3, 1]}, lambda x: x.transpose(2, 0, 3, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "options", "reference"), MOVES, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_moves(op: str, options: dict[str, Any], reference: Callable[[np.ndarray], Any], dtype: Any) -> None:
    x = X.astype(dtype)
    options = {k: dtype(v) if k == "constant_val" else v for k, v in options.items()}
    (y,) = build.run_op(op, {"x": x}, **options)
    assert y.dtype == dtype
    assert_array_equal(y, reference(x))


def test_a_zero_in_a_shape_takes_the_size_counted_from_the_right() -> None:
    x = build.normal(2, 50)
    assert build.run_op("reshape", {"x": x}, shape=[1, 0, -1, 0])[0].shape == (1, 1, 2, 50)  # MIL's own example


def test_squeeze_leaves_other_axes_alone() -> None:
    x = build.normal(1, 3, 1, 2, 1)
    assert build.run_op("squeeze", {"x": x}, axes=[0, -1])[0].shape == (3, 1, 2)
    assert build.run_op("squeeze", {"x": x})[0].shape == (3, 2)


@pytest.mark.parametrize("interleave", [True, False])
def test_concat_and_stack(interleave: bool) -> None:
    x, y = build.normal(2, 3, 4), build.normal(2, 3, 4, seed=1)
    join = build.mb.concat
    (z,) = build.run(lambda x, y: join(values=(x, y), axis=-2, interleave=interleave), {"x": x, "y": y})
    assert_array_equal(z, np.stack([x, y], 2).reshape(2, 6, 4) if interleave else np.concatenate([x, y], 1))
    (z,) = build.run(lambda x, y: build.mb.stack(values=(x, y), axis=1), {"x": x, "y": y})
    assert_array_equal(z, np.stack([x, y], 1))


def test_concat_takes_constants() -> None:
    x, c = build.normal(2, 3), build.normal(2, 1, seed=1)
    (z,) = build.run(lambda x: build.mb.concat(values=(x, c), axis=1), {"x": x})
    assert_array_equal(z, np.concatenate([x, c], 1))


@pytest.mark.parametrize("options", [{"num_splits": 3}, {"split_sizes": [1, 3, 2]}])
def test_split(options: dict[str, Any]) -> None:
    x = build.normal(2, 6, 3)
    at = [2, 4] if "num_splits" in options else [1, 4]
    for a, b in zip(build.run_op("split", {"x": x}, axis=1, **options), np.split(x, at, 1), strict=True):
        assert_array_equal(a, b)


def _slicing(data: Any, shape: tuple[int, ...]) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Draw a slice with masks, and the numpy index that means the same."""
    begin, end, stride, masks, index = [], [], [], ([], [], []), []
    for n in shape:
        step = data.draw(st.sampled_from([1, 1, 2, -1, -2]))
        low = data.draw(st.integers(0, n - 1))
        high = data.draw(st.integers(low + 1, n))
        squeeze, from_start, to_end = (data.draw(st.booleans()) for _ in range(3))
        first, last = (low, high) if step > 0 else (high - 1, low - 1)
        to_end = to_end or last < 0
        begin.append(first - n if data.draw(st.booleans()) and not squeeze else first)
        end.append(last)
        stride.append(1 if squeeze else step)
        for mask, on in zip(masks, (from_start and not squeeze, to_end and not squeeze, squeeze), strict=True):
            mask.append(on)
        ends = slice(None if from_start else first, None if to_end else last, step)
        index.append(first if squeeze else ends)
    options = {"begin": begin, "end": [e if e >= 0 else 0 for e in end], "stride": stride}
    options |= dict(zip(("begin_mask", "end_mask", "squeeze_mask"), masks, strict=True))
    return options, tuple(index)


@few
@given(data=st.data(), shape=array_shapes(min_dims=1, max_dims=4, max_side=5))
def test_slices_mean_what_numpy_means(data: Any, shape: tuple[int, ...]) -> None:
    options, index = _slicing(data, shape)
    x = build.normal(*shape)
    want = x[index]
    if want.size:
        assert_array_equal(build.run_op("slice_by_index", {"x": x}, **options)[0], want)


def test_slice_update_leaves_its_input_alone() -> None:
    x, update = build.normal(3, 4), build.normal(1, 2, seed=1)
    options = {"begin": [1, 1], "end": [2, 3]}
    body = lambda x, u: (build.mb.slice_update(x=x, update=u, **options), build.mb.identity(x=x))  # noqa: E731
    y, same = build.run(body, {"x": x, "u": update}, build.ct.target.iOS18)
    want = x.copy()
    want[1:2, 1:3] = update
    assert_array_equal(y, want)
    assert_array_equal(same, x)


@few
@given(axis=st.integers(-3, 2), shape=array_shapes(min_dims=1, max_dims=2, max_side=4), seed=st.integers(0, 9))
def test_gather(axis: int, shape: tuple[int, ...], seed: int) -> None:
    x = build.normal(3, 4, 5)
    indices = np.random.default_rng(seed).integers(-x.shape[axis], x.shape[axis], shape).astype(np.int32)
    assert_array_equal(build.run_op("gather", {"x": x, "indices": indices}, axis=axis)[0], np.take(x, indices, axis))


def test_other_gathers() -> None:
    x = build.normal(2, 3, 4)
    indices = np.int32([[2, 0], [1, 1]])
    (y,) = build.run_op("gather", {"x": x, "indices": indices}, axis=1, batch_dims=1)
    assert_array_equal(y, np.stack([x[i][indices[i]] for i in range(2)]))
    along = np.random.default_rng(0).integers(0, 3, (2, 5, 4)).astype(np.int32)
    (y,) = build.run_op("gather_along_axis", {"x": x, "indices": along}, axis=1)
    assert_array_equal(y, np.take_along_axis(x, along.astype(np.int64), 1))
    (y,) = build.run_op("gather_nd", {"x": x, "indices": np.int32([[1, 2], [0, 1], [0, 0]])})
    assert_array_equal(y, x[[1, 0, 0], [2, 1, 0]])


def test_an_index_out_of_range_is_an_error() -> None:
    with pytest.raises(OpError, match=r"gather .* failed"):
        build.run_op("gather", {"x": build.normal(3), "indices": np.int32([3])})


def test_one_hot() -> None:
    indices = np.int32([[0, 2], [1, 1]])
    (y,) = build.run_op("one_hot", {"indices": indices}, one_hot_vector_size=3, axis=1, on_value=5, off_value=-1)
    assert_array_equal(y, np.where(np.arange(3)[None, :, None] == indices[:, None], 5, -1))


def test_made_tensors() -> None:
    x = build.normal(2, 3)
    run, mb = build.run, build.mb
    assert run(lambda x: mb.add(x=mb.fill_like(ref_tensor=x, value=4.0), y=x), {"x": x})[0] == pytest.approx(x + 4)
    (y,) = run(lambda x: mb.gather(x=mb.shape(x=x), indices=np.int32([1, 0])), {"x": x})
    assert_array_equal(y, [3, 2])


def test_attributes_that_are_computed() -> None:
    run, mb = build.run, build.mb
    x, n = build.normal(2, 6), np.int32([3, 4])
    (y,) = run(lambda n: mb.fill(shape=n, value=np.float32(7)), {"n": n})
    assert_array_equal(y, np.full((3, 4), 7, np.float32))
    (y,) = run(lambda x, n: mb.reshape(x=x, shape=n), {"x": x, "n": n})
    assert_array_equal(y, x.reshape(3, 4))
    count = np.int32([5])
    (y,) = run(lambda n: mb.range_1d(start=np.int32(1), end=mb.squeeze(x=n), step=np.int32(2)), {"n": count})
    assert y.dtype == np.int32
    assert_array_equal(y, [1, 3])


def test_shapes_borrowed_from_other_tensors() -> None:
    """MIL's own example."""
    feeds = {"x": build.normal(180), "a": build.normal(2, 3, 4), "b": build.normal(1, 5, 6)}
    options = {"begins": (0, 1), "ends": (2, 0), "end_masks": (False, True)}
    like = build.mb.reshape_like
    (y,) = build.run(lambda x, a, b: like(x=x, ref_tensors=(a, b), **options), feeds)
    assert_array_equal(y, feeds["x"].reshape(2, 3, 5, 6))


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_l1_norm": lambda x, **k: np.abs(x).sum(**k),
    "reduce_l2_norm": lambda x, **k: np.sqrt((x**2).sum(**k)),
    "reduce_log_sum": lambda x, **k: np.log(x.sum(**k)),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, **k: (x**2).sum(**k),
}


@pytest.mark.parametrize("op", REDUCTIONS)
@settings(max_examples=6, deadline=None)
@given(axes=st.one_of(st.none(), st.sets(st.integers(0, 2), min_size=1)), keep=st.booleans())
def test_reductions(op: str, axes: set[int] | None, keep: bool) -> None:
    x = np.abs(build.normal(2, 3, 4)) + 0.1
    options = {} if axes is None else {"axes": [a - 3 for a in axes]}
    (y,) = build.run_op(op, {"x": x}, keep_dims=keep, **options)
    want = REDUCTIONS[op](x.astype(np.float64), axis=None if axes is None else tuple(axes), keepdims=keep)
    assert np.shape(y) == np.shape(want)
    assert_allclose(y, want, rtol=1e-5)


@pytest.mark.parametrize("op", ["reduce_argmax", "reduce_argmin"])
def test_arg_reductions(op: str) -> None:
    x = build.normal(2, 3, 4)
    (y,) = build.run_op(op, {"x": x}, axis=1, keep_dims=True)
    assert y.dtype == np.int32
    assert_array_equal(y, getattr(np, op.removeprefix("reduce_"))(x, axis=1, keepdims=True))


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("exclusive", [True, False])
def test_cumsum(reverse: bool, exclusive: bool) -> None:
    x = build.normal(2, 5)
    ordered = x[:, ::-1] if reverse else x
    want = np.cumsum(ordered, 1) - (ordered if exclusive else 0)
    (y,) = build.run_op("cumsum", {"x": x}, axis=1, exclusive=exclusive, reverse=reverse)
    assert_allclose(y, want[:, ::-1] if reverse else want, atol=1e-6)


@pytest.mark.parametrize("ascending", [True, False])
def test_sorting(ascending: bool) -> None:
    x = build.normal(3, 6)
    order = np.argsort(x if ascending else -x, 1)
    assert_array_equal(build.run_op("argsort", {"x": x}, axis=1, ascending=ascending)[0], order)
    values, indices = build.run_op("topk", {"x": x}, k=2, axis=1, ascending=ascending)
    assert_array_equal(indices, order[:, :2])
    assert_array_equal(values, np.take_along_axis(x, order[:, :2], 1))


def test_pixel_shuffles_undo_each_other() -> None:
    x = build.normal(1, 12, 2, 3)
    (y,) = build.run_op("pixel_shuffle", {"x": x}, upscale_factor=2)
    assert_array_equal(y, F.pixel_shuffle(torch.from_numpy(x), 2))
    assert_array_equal(build.run_op("pixel_unshuffle", {"x": y}, downscale_factor=np.uint32(2))[0], x)


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("scale", [(2, 3), (1, 2), (1.5, 2.5)])
def test_bilinear_upsampling(align: bool, scale: tuple[float, float]) -> None:
    x = build.normal(1, 2, 4, 5)
    options = {"scale_factor_height": scale[0], "scale_factor_width": scale[1]}
    options = {k: np.float32(v) for k, v in options.items()}
    (y,) = build.run_op("upsample_bilinear", {"x": x}, align_corners=align, **options)
    size = [int(4 * scale[0]), int(5 * scale[1])]
    want = F.interpolate(torch.from_numpy(x), size=size, mode="bilinear", align_corners=align)
    assert_allclose(y, want, atol=1e-6)


# The sampling points that MIL's text on resize_bilinear lists for a row of two pixels.
POINTS = {
    ("UNALIGN_CORNERS", 5): [0.0, 0.1, 0.5, 0.9, 1.0],
    ("STRICT_ALIGN_CORNERS", 5): [0.0, 0.25, 0.5, 0.75, 1.0],
    ("ALIGN_CORNERS", 1): [0.5],
    ("DEFAULT", 5): [0.0, 0.4, 0.8, 1.0, 1.0],
    ("OFFSET_CORNERS", 5): [0.1, 0.3, 0.5, 0.7, 0.9],
    ("OFFSET_CORNERS", 6): [1 / 12, 0.25, 5 / 12, 7 / 12, 0.75, 11 / 12],
}


@pytest.mark.parametrize(("mode", "count"), POINTS)
def test_sampling_points(mode: str, count: int) -> None:
    x = np.float32([[[0, 1], [0, 1]]])
    options = {"target_size_height": 2, "target_size_width": count, "sampling_mode": mode}
    (y,) = build.run_op("resize_bilinear", {"x": x}, **options)
    assert_allclose(y, np.broadcast_to(POINTS[mode, count], (1, 2, count)), atol=1e-6)
    (z,) = build.run_op("resize", {"x": x}, shape=[0, count], resized_dims=np.uint32(2), sampling_mode=mode)
    assert_array_equal(y, z)


def test_nearest_neighbours() -> None:
    x = build.normal(1, 1, 2, 3)
    (y,) = build.run_op("upsample_nearest_neighbor", {"x": x}, scale_factor_height=2, scale_factor_width=3)
    assert_array_equal(y, x.repeat(2, 2).repeat(3, 3))
    (y,) = build.run_op("resize_nearest_neighbor", {"x": x}, target_size_height=1, target_size_width=6)
    assert_array_equal(y, x[:, :, :1].repeat(2, 3))


@pytest.mark.parametrize(("scale", "sources"), [(1.6, [0, 0, 1, 2, 2, 3]), (1.12, [0, 1, 2, 3]), (0.67, [0, 2])])
def test_nearest_neighbours_by_a_fraction(scale: float, sources: list[int]) -> None:
    """Pixels come by the ratio of the sizes, as in coremltools' test of Core ML; PyTorch goes by the factor."""
    x = build.normal(1, 1, 1, 4)
    options = {"scale_factor_height": np.float32(1), "scale_factor_width": np.float32(scale)}
    (y,) = build.run_op("upsample_nearest_neighbor", {"x": x}, **options)
    assert_array_equal(y, x[..., sources])
    tensor = torch.from_numpy(x)
    assert_array_equal(y, F.interpolate(tensor, scale_factor=(1, scale), mode="nearest", recompute_scale_factor=True))


def test_the_newer_resize_rounds_to_the_nearest() -> None:
    """coremltools' one example: 2 rows become 3."""
    x = build.normal(1, 1, 2, 1)
    options = {"resized_dims": np.uint32(2), "interpolation_mode": "NEAREST_NEIGHBOR"}
    (y,) = build.run_op("resize", {"x": x}, shape=[1, 1, 3, 2], **options)
    assert_array_equal(y, x[:, :, [0, 1, 1]].repeat(2, 3))


def test_an_option_that_is_not_known_is_refused_at_load(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = build.KERNELS["resize"]
    choices = {**kernel.choices, "interpolation_mode": ("LINEAR",)}
    monkeypatch.setitem(build.KERNELS, "resize", replace(kernel, choices=choices))
    options = {"resized_dims": np.uint32(2), "interpolation_mode": "NEAREST_NEIGHBOR"}
    built = build.program(lambda x: build.mb.resize(x=x, shape=[8, 8], name="y", **options), {"x": X})
    with pytest.raises(OpError, match=r"'resize' .output 'y' .*: interpolation_mode 'NEAREST_NEIGHBOR' is not"):
        build.Program(built.functions["main"], ("main",), "main")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_small_integers_move_as_they_are(dtype: Any) -> None:
    x = np.arange(np.iinfo(dtype).max - 5, np.iinfo(dtype).max + 1).astype(dtype).reshape(2, 3)
    mb, indices = build.mb, np.array([1, 0], dtype)
    (y,) = build.run_op("reverse", {"x": x}, axes=[1])
    assert y.dtype == dtype
    assert_array_equal(y, x[:, ::-1])
    (y,) = build.run_op("gather", {"x": x, "indices": indices}, axis=1)
    assert y.dtype == dtype
    assert_array_equal(y, x[:, [1, 0]])
    (y,) = build.run_op("gather_along_axis", {"x": x, "indices": np.array([[1], [2]], dtype)}, axis=1)
    assert_array_equal(y, x[[0, 1], [1, 2]][:, None])
    (y,) = build.run(lambda x: mb.slice_by_index(x=x, begin=[0, 2], end=[2, 0], stride=[1, -1]), {"x": x})
    assert_array_equal(y, x[0:2, 2:0:-1])
    values, _ = build.run_op("topk", {"x": x}, build.ct.target.iOS17, k=2, axis=1)
    assert values.dtype == dtype
    assert_array_equal(values, np.sort(x, 1)[:, :0:-1])


def test_negative_steps_beside_a_squeezed_axis() -> None:
    x, mb = build.normal(3, 4, 5), build.mb
    options = {"begin": [-1, 3, 0], "end": [0, 0, 5], "stride": [1, -2, 1], "squeeze_mask": [True, False, False]}
    (y,) = build.run(lambda x: mb.slice_by_index(x=x, **options), {"x": x})
    assert_array_equal(y, x[-1, 3:0:-2])
    update = build.normal(2, 5, seed=1)
    options = {"begin": [1, 3, 0], "end": [2, 0, 5], "stride": [1, -2, 1], "squeeze_mask": [True, False, False]}
    body = lambda x, u: mb.slice_update(x=x, update=u, **options)  # noqa: E731
    (y,) = build.run(body, {"x": x, "u": update}, build.ct.target.iOS18)
    want = x.copy()
    want[1, 3:0:-2] = update
    assert_array_equal(y, want)


def test_blocks_of_pixels_become_channels_and_batches() -> None:
    x = build.normal(2, 3, 4, 6)
    (y,) = build.run_op("space_to_depth", {"x": x}, block_size=2)
    want = x.reshape(2, 3, 2, 2, 3, 2).transpose(0, 3, 5, 1, 2, 4).reshape(2, 12, 2, 3)
    assert_array_equal(y, want)
    assert_array_equal(build.run_op("depth_to_space", {"x": y}, block_size=2)[0], x)
    (y,) = build.run_op("space_to_batch", {"x": x}, block_shape=[2, 3], paddings=[[1, 1], [0, 3]])
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 3)])
    want = np.stack([padded[:, :, i::2, j::3] for i in range(2) for j in range(3)]).reshape(12, 3, 3, 3)
    assert_array_equal(y, want)
    (back,) = build.run_op("batch_to_space", {"x": y}, block_shape=[2, 3], crops=[[1, 1], [0, 3]])
    assert_array_equal(back, x)


@pytest.mark.parametrize(("seq_axis", "batch_axis"), [(1, 0), (0, 1)])
def test_reverse_sequence(seq_axis: int, batch_axis: int) -> None:
    x, lengths = build.normal(3, 4, 2), [2, 0, 3, 4][: 3 if batch_axis == 0 else 4]
    lengths = [min(n, x.shape[seq_axis]) for n in lengths]
    (y,) = build.run_op("reverse_sequence", {"x": x}, lengths=lengths, seq_axis=seq_axis, batch_axis=batch_axis)
    want = np.moveaxis(x.copy(), [batch_axis, seq_axis], [0, 1])
    for row, n in zip(want, lengths, strict=True):
        row[:n] = row[:n][::-1].copy()
    assert_array_equal(y, np.moveaxis(want, [0, 1], [batch_axis, seq_axis]))


def test_windows_and_non_zero() -> None:
    x = build.normal(2, 7, 3)
    (y,) = build.run_op("sliding_windows", {"x": x}, axis=1, size=3, stride=2)
    assert_array_equal(y, np.stack([x[:, i : i + 3] for i in (0, 2, 4)], 1))
    mask = np.float32([[0, 2, 0], [-1, 0, 3]])
    assert_array_equal(build.run_op("non_zero", {"x": mask})[0], np.argwhere(mask))
