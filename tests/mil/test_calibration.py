from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.mil import build
from tests.mil.build import MilError, calibration, from_model, load

with build.quiet():
    import coremltools.optimize.coreml as cto

mb, ct = build.mb, build.ct
WEIGHTS = [build.normal(8, 8, 3, 3, seed=s, dtype=np.float16) / np.float16(8) for s in (1, 2)]
SAMPLES = [{"x": build.normal(1, 8, 8, 8, seed=s, dtype=np.float16) * np.float16(3 - s)} for s in range(3)]


def network(dtype: Any = np.float16) -> Any:
    def body(x: Any) -> Any:
        y = mb.relu(x=mb.conv(x=x, weight=WEIGHTS[0].astype(dtype), pad_type="same", name="first"), name="rest")
        y = mb.concat(values=(y, x), axis=1, name="joined")
        y = mb.conv(x=y, weight=np.concatenate(WEIGHTS, 1).astype(dtype), pad_type="same", name="second")
        return mb.silu(x=y, name="y")

    return build.model(body, {"x": SAMPLES[0]["x"].astype(dtype)})


def config(**options: Any) -> Any:
    return cto.OptimizationConfig(
        global_config=None,
        op_type_configs={"conv": cto.OpLinearQuantizerConfig(mode="linear_symmetric", **options)},
    )


def test_ranges_span_all_samples() -> None:
    program = from_model(network())
    ranges = calibration.record_ranges(program, SAMPLES)
    assert set(ranges) == {"x", "first", "rest", "joined", "second", "y"}
    every = np.concatenate([s["x"].ravel() for s in SAMPLES])
    assert ranges["x"] == (every.min(), every.max())
    last = calibration.record_ranges(program, SAMPLES[-1:])
    assert ranges["first"][0] < last["first"][0]  # what coremltools 9.0 would keep
    assert ranges["first"][1] > last["first"][1]


def test_w8a8_without_a_mac(tmp_path: Path) -> None:
    model = network()
    plain = from_model(model)
    ranges = calibration.record_ranges(plain, SAMPLES)
    small = calibration.quantise_activations(model, config(), ranges)
    with build.quiet():
        small = cto.linear_quantize_weights(small, config(weight_threshold=0))
    program = load(build.save(small, tmp_path / "w8a8.mlpackage"))
    assert program.ops["quantize"] >= 2
    assert program.ops["dequantize"] >= 2
    levels: dict[str, np.ndarray] = {}

    def observe(name: str, value: np.ndarray) -> None:
        if value.dtype == np.int8:
            levels[name] = value.copy()

    for sample in SAMPLES:
        want, got = (np.float32(p.run(sample)["y"]) for p in (plain, program))
        assert 0 < np.abs(got - want).max() < 0.05 * np.abs(want).max()
    program.run(SAMPLES[0], observe=observe)
    assert levels
    assert all(len(np.unique(v)) > 16 for v in levels.values())  # the range is used


def test_narrow_ranges_are_felt(tmp_path: Path) -> None:
    model = network()
    plain = from_model(model)
    ranges = calibration.record_ranges(plain, SAMPLES)
    errors = []
    for share in (1.0, 0.1):
        narrow = {n: (share * a, share * b) for n, (a, b) in ranges.items()}
        small = from_model(calibration.quantise_activations(model, config(), narrow))
        errors.append(np.abs(np.float32(small.run(SAMPLES[0])["y"]) - plain.run(SAMPLES[0])["y"]).max())
    assert errors[1] > 10 * errors[0]


def test_single_precision_activations_are_refused() -> None:
    """coremltools 9.0 gives them half-precision scales and trips over its own check."""
    model = network(np.float32)
    ranges = calibration.record_ranges(from_model(model), [{"x": s["x"].astype(np.float32)} for s in SAMPLES])
    with pytest.raises(MilError, match="needs them in float16"):
        calibration.quantise_activations(model, config(), ranges)


def test_a_missing_range_is_named() -> None:
    ranges = calibration.record_ranges(from_model(network()), SAMPLES)
    del ranges["x"], ranges["joined"]
    with pytest.raises(MilError, match="has no range"):
        calibration.quantise_activations(network(), config(), ranges)


def test_no_samples_and_broken_samples() -> None:
    program = from_model(network())
    with pytest.raises(MilError, match="no calibration samples"):
        calibration.record_ranges(program, [])
    with pytest.raises(MilError, match=r"not finite in calibration.*first"):
        calibration.record_ranges(program, [{"x": np.full_like(SAMPLES[0]["x"], np.inf)}])
