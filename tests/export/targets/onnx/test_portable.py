"""int8 weights whose products no 16-bit sum cuts off: what processors without VNNI need."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from qlot.export.graphs.schemes import plan_for
from qlot.export.targets.onnx import int8
from qlot.export.targets.onnx.convert import module_paths
from qlot.export.targets.onnx.portable import PAIR_LIMIT, channels_last, has_pairs, largest_pair, output_axis, quantised
from tests.export import small


def layers(model: ModelProto) -> dict[str, NDArray[np.int8]]:
    """The integers of every convolution and linear, output channels first."""
    constants = {t.name: t for t in model.graph.initializer}
    makers = {n.output[0]: n for n in model.graph.node}
    found = {}
    for node in model.graph.node:
        unpacked = makers.get(node.input[1]) if node.op_type in ("Conv", "Gemm") else None
        if unpacked is not None and constants[unpacked.input[0]].data_type == TensorProto.INT8:
            integers = numpy_helper.to_array(constants[unpacked.input[0]])
            found[node.name] = np.moveaxis(integers, output_axis(unpacked), 0)
    return found


def sixteen_bits(integers: NDArray[np.int8]) -> bool:
    """Whether VPMADDUBSW keeps every pair's sum at the worst activations: 255 where a weight adds to it, else 0."""
    rows = channels_last(integers).astype(np.int64)
    for sign in (1, -1):
        products = 255 * np.maximum(sign * rows, 0)
        whole = products.shape[1] // 2 * 2
        if (products[:, 0:whole:2] + products[:, 1:whole:2] > (32767 if sign == 1 else 32768)).any():
            return False
    return True


def test_no_pair_of_a_graph_overflows() -> None:
    traced, feeds = small.traced("windowed", "extractor"), small.recorded("windowed")["extractor"]
    paths, plan = module_paths(traced), plan_for("onnx", "w8a8")
    with patch.object(int8, "make_portable"):
        before = layers(int8.quantise(traced, plan, paths, feeds))
    found = layers(int8.quantise(traced, plan, paths, feeds))
    assert found.keys() == before.keys()
    paired = {n: w for n, w in found.items() if has_pairs(w)}
    assert len(paired) > 5
    assert all(largest_pair(w) <= PAIR_LIMIT and sixteen_bits(w) for w in paired.values())
    assert sum(not sixteen_bits(before[n]) for n in paired) > len(paired) / 2  # what the quantiser makes of them


@pytest.mark.parametrize("shape", [(8, 33), (8, 6, 3, 3), (8, 7, 1, 1)])
@pytest.mark.parametrize("alike", [False, True])
def test_weights_stay_near(shape: tuple[int, ...], alike: bool) -> None:
    values = np.ones(shape, np.float32) if alike else np.random.default_rng(0).normal(size=shape).astype(np.float32)
    scales = np.abs(values).reshape(len(values), -1).max(1) / 127
    integers, found = quantised(values, scales)
    assert integers.shape == shape
    assert sixteen_bits(integers)
    assert ((found >= scales) & (found <= 2.001 * scales)).all()
    by_channel = found.reshape(-1, *[1] * (values.ndim - 1))
    error = np.sqrt(np.square(integers * by_channel - values).mean())
    plain = np.sqrt(np.square(np.rint(values / (2 * by_channel)) * 2 * by_channel - values).mean())
    assert error <= max(plain, 1e-6)


def test_a_depthwise_convolution_keeps_all_its_bits() -> None:
    values = np.random.default_rng(0).normal(size=(8, 1, 3, 3)).astype(np.float32)
    scales = np.abs(values).reshape(8, -1).max(1) / 127
    integers, found = quantised(values, scales)
    np.testing.assert_array_equal(found, scales)
    np.testing.assert_array_equal(np.abs(integers).reshape(8, -1).max(1), 127)


def test_pairs_are_neighbours_channels_last() -> None:
    values = np.zeros((1, 4, 1, 2), np.int8)
    values[0, :2, 0, 0] = 100  # neighbours in the order of the sums
    assert largest_pair(values) == 200
    values = np.zeros((1, 4, 1, 2), np.int8)
    values[0, 0, 0, :] = 100  # neighbours in the file alone
    assert largest_pair(values) == 100
