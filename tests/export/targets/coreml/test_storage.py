"""Weights of Core ML packages in few bits, and the larger of those that compute in float32 as float16."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlot.export.errors import TargetError
from qlot.export.graphs.schemes import LEAST_VALUES, PLANS, plan_for
from qlot.runtime.quiet import quiet
from tests.export import small

pytest.importorskip("coremltools", reason="needs the extra coreml")

from qlot.export.targets.coreml import convert as coreml
from qlot.export.targets.coreml.compress import compress
from qlot.export.targets.coreml.program import check_products, operations, products
from qlot.export.targets.coreml.quantise import load
from qlot.export.targets.coreml.storage import store
from qlot.mil import from_model
from tests.export.coreml_graphs import lowered, relative, traced

pytestmark = pytest.mark.filterwarnings("ignore")  # the converter's own, by the dozen

UNPACKED_BY = {
    "palette6": {"constexpr_lut_to_dense", "constexpr_affine_dequantize"},
    "palette4": {"constexpr_lut_to_dense", "constexpr_affine_dequantize"},
    "w4": {"constexpr_blockwise_shift_scale"},
}


def stored(scheme: str, name: str = "refiner") -> Any:
    """Convert a stage under a weights-only scheme, up to the storage."""
    plan, stage = plan_for("coreml", scheme), small.stage("dense", name)
    known = coreml.weight_paths(traced(name))
    with quiet():
        newest = plan.min_ios == 18
        model = coreml.lower(traced(name), stage, plan, known, 18) if newest else lowered(name, half=False)
        found = products(operations(load(model)), known)
        model = store(compress(model, [(p, plan.quantised(p.path)) for p in found]), plan)
    check_products(products(operations(load(model)), known), stage, plan)
    return model


def constants(model: Any) -> Mapping[str, Any]:
    (main,) = load(model).functions.values()
    return {op.name: op for op in main.operations if op.op_type == "const" or op.op_type.startswith("constexpr_")}


def size(model: Any) -> int:
    return sum(p.stat().st_size for p in Path(model.weights_dir).iterdir())


def large_floats(model: Any) -> list[str]:
    values = {name: op.outputs[0].val for name, op in constants(model).items() if op.op_type == "const"}
    arrays = {n: v for n, v in values.items() if isinstance(v, np.ndarray) and v.dtype == np.float32 and v.ndim > 1}
    return [n for n, v in arrays.items() if v.size >= LEAST_VALUES]


@pytest.mark.parametrize("name", ["extractor", "refiner"])
def test_larger_floats_are_stored_in_half_and_computed_in_single(name: str) -> None:
    whole = lowered(name, half=False)
    with quiet():
        half = store(whole, PLANS["fp16"])
        assert store(whole, PLANS["fp32"]) is whole
    assert large_floats(whole) and not large_floats(half)
    assert size(half) < 0.9 * size(whole)
    feeds = small.feeds_of(small.stage("dense", name))
    wanted = small.run_torch(small.stage("dense", name), feeds)
    dtypes: set[str] = set()
    found = from_model(half).run(feeds, observe=lambda _, value: dtypes.add(str(value.dtype)))
    assert "float16" not in dtypes
    assert 1e-7 < relative(found, wanted) < 1e-3


def test_what_float16_cannot_hold_stays_float32() -> None:
    model = lowered("refiner", half=False)
    weights = Path(model.weights_dir) / "weight.bin"
    before = weights.read_bytes()
    value = small.stage("dense", "refiner").module.model.refiner.mixer.value.weight.numpy()
    at = before.index(value.tobytes())
    try:
        weights.write_bytes(before[:at] + np.float32(7e4).tobytes() + before[at + 4 :])
        with quiet():
            (kept,) = large_floats(store(model, PLANS["fp16"]))
    finally:
        weights.write_bytes(before)
    assert "mixer_value_weight" in kept


@pytest.mark.parametrize("scheme", UNPACKED_BY)
def test_experimental_schemes_store_what_the_plan_names_and_the_interpreter_runs_it(scheme: str) -> None:
    model = stored(scheme)
    kinds = {op.op_type for op in constants(model).values()} - {"const", "constexpr_cast"}
    assert kinds == UNPACKED_BY[scheme]
    feeds = small.feeds_of(small.stage("dense", "refiner"))
    wanted = small.run_torch(small.stage("dense", "refiner"), feeds)
    assert 1e-3 < relative(from_model(model).run(feeds), wanted) < 0.3


def test_fewer_bits_are_smaller_and_a_lost_weight_is_refused() -> None:
    models = {scheme: stored(scheme, "extractor") for scheme in ("w8", "palette6")}
    assert size(models["palette6"]) < size(models["w8"])
    stage, known = small.stage("dense", "extractor"), coreml.weight_paths(traced("extractor"))
    found = products(operations(load(models["palette6"])), known)
    with pytest.raises(TargetError, match="in 6-bit palette weights, wanted int8 weights"):
        check_products(found, stage, plan_for("coreml", "w8"))
    lost = [
        dataclasses.replace(p, arithmetic="float32") if p.arithmetic == "6-bit palette weights" else p for p in found
    ]
    with pytest.raises(TargetError, match="in float32, wanted 6-bit palette weights"):
        check_products(lost, stage, plan_for("coreml", "palette6"))
