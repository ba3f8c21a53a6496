"""Stored as float16, computed in float32 by XNNPACK, in one partition."""

from __future__ import annotations

import numpy as np
import pytest

from qlot.export.graphs.schemes import LEAST_VALUES, PLANS, SchemePlan
from qlot.runtime.bundle.manifest import Scheme, StageSpec
from tests.export import small

pytest.importorskip("litert_torch", reason="needs the extra tflite")

from ai_edge_litert.tools import flatbuffer_utils

from qlot.export.targets.tflite.graph import read, written
from qlot.export.targets.tflite.storage import store
from qlot.runtime.network.sessions.tflite import TFLiteSession
from tests.export.tflite_graphs import graph

pytestmark = pytest.mark.filterwarnings("ignore")  # the converter's own, by the dozen

STAGES = ("extractor", "refiner")


def floats(data: bytes, kind: str) -> list[int]:
    """Return the sizes of the constants of a type, and check that none is stored twice."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    found = []
    for tensor in model.subgraphs[0].tensors:
        stored = model.buffers[tensor.buffer].data
        if stored is not None and flatbuffer_utils.type_to_name(tensor.type) == kind:
            found.append(int(np.prod(tensor.shape)) if tensor.shape is not None else 1)
    return found


def stored(data: bytes, plan: SchemePlan) -> bytes:
    model = read(data)
    store(model, plan)
    return written(model)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("scheme", ["fp16", "w8", "w8a8"])
def test_no_large_constant_is_stored_in_float32(name: str, scheme: Scheme) -> None:
    assert max(floats(graph(name, scheme).data, "FLOAT32")) < LEAST_VALUES
    assert max(floats(graph(name, "fp32").data, "FLOAT32")) >= LEAST_VALUES  # the check would see one
    assert graph(name, scheme).delegation.partitions == 1


def test_only_storage_changes() -> None:
    stage = small.stage("dense", "refiner")
    spec = StageSpec(file="", iterations=1, inputs=stage.inputs, outputs=stage.outputs, macs=0, ops={})
    whole = graph("refiner", "fp32").data
    half = stored(whole, PLANS["fp16"])
    feeds = small.feeds_of(stage)
    wanted = small.run_torch(stage, feeds)

    def error(data: bytes) -> float:
        session = TFLiteSession(data, spec, "refiner")
        assert session.delegation.partitions == 1 and not session.delegation.outside
        found = session.run(feeds)
        return max(float(np.abs(found[k] - v).max() / np.abs(v).max()) for k, v in wanted.items())

    assert len(half) < 0.75 * len(whole)
    assert error(whole) < 1e-5 < error(half) < 1e-3
    assert stored(whole, PLANS["fp32"]) == written(read(whole))


def test_what_float16_cannot_hold_stays_float32() -> None:
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(graph("refiner", "fp32").data))
    large = [
        b
        for b in model.buffers
        if b.data is not None and len(b.data) >= 4 * LEAST_VALUES and np.frombuffer(bytes(b.data), np.float32).any()
    ]
    values = np.frombuffer(bytes(large[0].data), np.float32).copy()
    values[0] = 7e4
    large[0].data = np.frombuffer(values.tobytes(), np.uint8)
    half = stored(bytes(flatbuffer_utils.convert_object_to_bytearray(model)), PLANS["fp16"])
    assert [n for n in floats(half, "FLOAT32") if n >= LEAST_VALUES] == [values.size]
