"""Compressed constants, each decoded here by its formula from the arrays that are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.mil import build
from tests.mil.build import load, load_program, read_spec

with build.quiet():
    import coremltools.optimize.coreml as cto

mb, ct = build.mb, build.ct
X = build.normal(4, 16)


def decoded(body: Any, target: Any = ct.target.iOS18) -> np.ndarray:
    """The constant that `body` makes, read through an identity, after saving."""
    feeds = {"x": np.zeros(1, np.float32)}
    return build.run(lambda x: (mb.identity(x=body()), mb.relu(x=x)), feeds, target)[0]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("axis", [0, 1])
def test_affine(dtype: Any, axis: int) -> None:
    q = np.random.default_rng(0).integers(np.iinfo(dtype).min, 100, (3, 4)).astype(dtype)
    n = q.shape[axis]
    scale, zero = np.linspace(0.1, 0.3, n).astype(np.float32), np.arange(n).astype(dtype)
    make = mb.constexpr_affine_dequantize
    y = decoded(lambda: make(quantized_data=q, scale=scale, zero_point=zero, axis=axis), ct.target.iOS16)
    s, z = ((v[:, None] if axis == 0 else v).astype(np.float64) for v in (scale, zero))
    assert y.dtype == np.float32
    assert_allclose(y, (q.astype(np.float64) - z) * s, rtol=1e-6)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_blockwise(half: bool, offset: bool) -> None:
    random, kind = np.random.default_rng(0), np.float16 if half else np.float32
    q = random.integers(-128, 127, (4, 6)).astype(np.int8)
    scale, zero = random.uniform(0.1, 1, (2, 3)).astype(kind), random.integers(-9, 9, (2, 3)).astype(np.int8)
    options = {"offset": zero} if offset else {}
    y = decoded(lambda: mb.constexpr_blockwise_shift_scale(data=q, scale=scale, **options))
    s, z = (np.repeat(np.repeat(v.astype(np.float64), 2, 0), 2, 1) for v in (scale, zero))
    assert y.dtype == kind
    assert_array_equal(y, ((q - (z if offset else 0)) * s).astype(np.float32).astype(kind))


def test_old_look_up_tables_are_packed_bits() -> None:
    lut = np.float32([-1, 0, 2, 5])
    indices = np.array([0, 3, 2, 1, 3], np.uint8)
    packed = np.array([0 | 3 << 2 | 2 << 4 | 1 << 6, 3], np.uint8)
    make = mb.constexpr_lut_to_dense
    y = decoded(lambda: make(indices=packed, lut=lut, shape=np.uint32([5, 1])), ct.target.iOS16)
    assert_array_equal(y, lut[indices][:, None])


def test_old_sparse_masks_are_packed_bits() -> None:
    values = np.float32([7, 8, 9])
    mask = np.array([0b10100001, 0], np.uint8)
    make = mb.constexpr_sparse_to_dense
    y = decoded(lambda: make(nonzero_data=values, mask=mask, shape=np.uint32([3, 3])), ct.target.iOS16)
    assert_array_equal(y.flatten(), [7, 0, 0, 0, 0, 8, 0, 9, 0])


def test_half_stored_for_single() -> None:
    value = np.float16([[0.1, 3]])
    y = decoded(lambda: mb.constexpr_cast(source_val=value, output_dtype="fp32"), ct.target.iOS16)
    assert y.dtype == np.float32
    assert_array_equal(y, value.astype(np.float32))


def conv_model(half: bool, target: Any) -> tuple[Any, np.ndarray]:
    kind = np.float16 if half else np.float32
    weight = build.normal(32, 16, seed=1, dtype=kind)
    feeds = {"x": X.astype(kind)}
    return build.model(lambda x: mb.linear(x=x, weight=weight, name="y"), feeds, target), weight


def config(kind: Any, **options: Any) -> Any:
    return cto.OptimizationConfig(global_config=kind(weight_threshold=0, **options))


def stored(path: Path, op: str) -> Any:
    """The pymil operation that the weight is stored as."""

    function = load_program(*read_spec(path), "test").functions["main"]
    (found,) = (o for o in function.operations if o.op_type == op)
    return found


def _indices(op: Any, nbits: int, count: int) -> np.ndarray:
    """Stored indices: plain numbers since iOS 18, before that packed from the lowest bit on."""
    if op.indices.val.ndim > 1:
        return op.indices.val.astype(int).flatten()
    bits = np.unpackbits(op.indices.val, bitorder="little")[: nbits * count]
    return bits.reshape(count, nbits) @ (1 << np.arange(nbits))


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("nbits", [4, 6])
@pytest.mark.parametrize("target", [ct.target.iOS17, ct.target.iOS18])
def test_palettes_through_a_file(tmp_path: Path, half: bool, nbits: int, target: Any) -> None:
    model, weight = conv_model(half, target)
    with build.quiet():
        small = cto.palettize_weights(model, config(cto.OpPalettizerConfig, mode="uniform", nbits=nbits))
    path = build.save(small, tmp_path / "w.mlpackage")
    op = stored(path, "constexpr_lut_to_dense")
    x = X.astype(weight.dtype)
    (y,) = load(path).run({"x": x}).values()
    palette = op.lut.val.flatten()
    assert palette.size == 2**nbits
    dense = palette[_indices(op, nbits, weight.size)].reshape(weight.shape)
    assert np.abs(dense - weight).max() < 0.6 * np.ptp(weight) / (2**nbits - 1)  # to the nearest entry
    assert y.dtype == weight.dtype
    exact = x.astype(np.float64) @ dense.astype(np.float64).T
    assert_allclose(y, exact, rtol=2e-3 if half else 1e-5, atol=2e-2 if half else 1e-4)
    assert np.abs(y - x.astype(np.float64) @ weight.astype(np.float64).T).max() > 0.1  # the palette is felt


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("nbits", [8, 4])
def test_blocks_through_a_file(tmp_path: Path, half: bool, nbits: int) -> None:
    model, weight = conv_model(half, ct.target.iOS18)
    options = {"mode": "linear_symmetric", "dtype": f"int{nbits}", "granularity": "per_block", "block_size": 8}
    with build.quiet():
        small = cto.linear_quantize_weights(model, config(cto.OpLinearQuantizerConfig, **options))
    path = build.save(small, tmp_path / "w.mlpackage")
    op = stored(path, "constexpr_blockwise_shift_scale")
    assert op.scale.val.shape == (32, 2)
    scale = np.repeat(op.scale.val.astype(np.float64), 8, 1)
    most = 2 ** (nbits - 1) - 1
    dense = np.clip(np.rint(weight / scale), -most, most) * scale
    x = X.astype(weight.dtype)
    (y,) = load(path).run({"x": x}).values()
    assert_allclose(y, x.astype(np.float64) @ dense.T, rtol=2e-3 if half else 1e-5, atol=5e-2 if half else 1e-4)


@pytest.mark.parametrize("target", [ct.target.iOS17, ct.target.iOS18])
def test_pruned_weights_through_a_file(tmp_path: Path, target: Any) -> None:
    model, weight = conv_model(False, target)
    with build.quiet():
        small = cto.prune_weights(model, config(cto.OpMagnitudePrunerConfig, target_sparsity=0.5))
    path = build.save(small, tmp_path / "w.mlpackage")
    stored(path, "constexpr_sparse_to_dense")
    dense = np.where(np.abs(weight) >= np.median(np.abs(weight)), weight, 0)
    (y,) = load(path).run({"x": X}).values()
    assert_allclose(y, X.astype(np.float64) @ dense.T, atol=1e-5)


@pytest.mark.parametrize("first", ["prune", "palettise"])
def test_joint_compression_through_a_file(tmp_path: Path, first: str) -> None:
    """Sparse palettes, and palettes whose own entries are quantised: decoders that feed decoders."""
    model, weight = conv_model(False, ct.target.iOS18)
    with build.quiet():
        palettes = config(cto.OpPalettizerConfig, mode="uniform", nbits=4)
        if first == "prune":
            small = cto.prune_weights(model, config(cto.OpMagnitudePrunerConfig, target_sparsity=0.5))
            small = cto.palettize_weights(small, palettes, joint_compression=True)
        else:
            small = cto.palettize_weights(model, palettes)
            linear = config(cto.OpLinearQuantizerConfig, mode="linear_symmetric", granularity="per_tensor")
            small = cto.linear_quantize_weights(small, linear, joint_compression=True)
    path = build.save(small, tmp_path / "w.mlpackage")
    inner = {"prune": "constexpr_lut_to_sparse", "palettise": "constexpr_blockwise_shift_scale"}[first]
    stored(path, inner)
    (y,) = load(path).run({"x": np.eye(16, dtype=np.float32)[:4]}).values()  # reads columns of the weight
    dense = weight if first == "palettise" else np.where(np.abs(weight) >= np.median(np.abs(weight)), weight, 0)
    step = (weight.max() - weight.min()) / 15
    assert np.abs(y - dense.T[:4]).max() < step  # half a palette step, and what int8 entries add
    assert len(np.unique(y)) <= 17
