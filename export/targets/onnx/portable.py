"""int8 weights whose products sum exactly on every processor.

x86 processors without VNNI multiply uint8 by int8 in pairs: two neighbours of a channel's weights, each times its
activation, become one 16-bit sum, and what does not fit is cut off without a word (VPMADDUBSW). With activations of 255
it fits if the two weights add up to -128 to 128. The quantiser's weights reach 127 each. Here every channel gets the
scale that costs least, and the few pairs that are still too large come down to the bound. The integers of such a graph
are the same in any engine, with nothing set.

Engines lay a convolution's weights out channels last before they pair them. A depthwise convolution has no pairs: its
vectors run along the channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

PAIR_LIMIT = 128  # 255 * 128 = 32640 is in 16 bits, 255 * 129 = 32895 is not
_WIDENING = np.linspace(1, 2, 21)  # of a channel's scale; at 2, no weight is above 64 and any pair fits


def make_portable(model: ModelProto, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Replace int8 weights, their scales and biases in a quantised graph, in place.

    Args:
        model: QDQ graph whose convolutions and linears have int8 weights, zero points 0, per output channel.
        weights: the float32 tensors that were quantised, by name.
    """
    constants = {t.name: t for t in model.graph.initializer}
    makers = {n.output[0]: n for n in model.graph.node}
    for node in model.graph.node:
        unpacked = makers.get(node.input[1]) if node.op_type in ("Conv", "Gemm") else None
        if unpacked is None or constants[unpacked.input[0]].data_type != TensorProto.INT8:
            continue
        stored, scale = (constants[name] for name in unpacked.input[:2])
        axis = output_axis(unpacked)
        values = np.moveaxis(weights[stored.name.removesuffix("_quantized")], axis, 0)
        before = numpy_helper.to_array(scale)
        integers, after = quantised(values, before)
        _set(stored, np.ascontiguousarray(np.moveaxis(integers, 0, axis)))
        _set(scale, after)
        if len(node.input) > 2 and node.input[2] in makers:
            bias, bias_scale = (constants[name] for name in makers[node.input[2]].input[:2])
            unit = numpy_helper.to_array(bias_scale).astype(np.float64)
            wider = (unit * after / before).astype(np.float32)
            _set(bias, np.rint(numpy_helper.to_array(bias) * unit / wider).astype(np.int32))
            _set(bias_scale, wider)


def quantised(values: NDArray[np.float32], scales: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise a layer's weights, output channels first, so that no pair overflows.

    Args:
        values: (C, inputs) or (C, inputs, height, width).
        scales: (C,) of which each channel's largest magnitude becomes 127.

    Returns:
        The integers, shaped as the weights, and the scale of each channel.
    """
    rows = channels_last(values).astype(np.float64)
    best = np.full(len(rows), np.inf)
    integers, chosen = np.zeros_like(rows), scales.copy()
    for factor in _WIDENING if has_pairs(values) else (1.0,):
        scale = (scales * factor).astype(np.float32)
        found = np.rint(rows / scale[:, None])
        if has_pairs(values):
            _fit(found)
        error = np.square(found * scale[:, None] - rows).sum(1)
        better = error < best
        best[better], integers[better], chosen[better] = error[better], found[better], scale[better]
    if values.ndim == 4:
        c, inputs, height, width = values.shape
        integers = integers.reshape(c, height, width, inputs).transpose(0, 3, 1, 2)
    return integers.reshape(values.shape).astype(np.int8), chosen


def largest_pair(integers: NDArray[np.int8]) -> int:
    """Return the largest magnitude of the sum of two weights that an engine pairs; 0 for a depthwise convolution.

    Args:
        integers: (C, inputs) or (C, inputs, height, width).
    """
    if not has_pairs(integers):
        return 0
    first, second = _pairs(channels_last(integers).astype(np.int32))
    return int(np.abs(first + second).max())


def has_pairs(values: NDArray[np.generic]) -> bool:
    """Whether products are summed over more than a kernel's places, that is, whether a layer is not depthwise."""
    return values.shape[1] > 1


def channels_last(values: NDArray[Any]) -> NDArray[Any]:
    """Return each output channel's weights (C, n) in the order in which engines sum their products."""
    return np.ascontiguousarray(np.moveaxis(values, 1, -1)).reshape(len(values), -1)


def output_axis(unpacked: NodeProto) -> int:
    """Return the axis of the output channels, along which a weight's DequantizeLinear has its scales."""
    return next((a.i for a in unpacked.attribute if a.name == "axis"), 1)


def _fit(rows: NDArray[np.float64]) -> None:
    """Bring every pair of whole numbers into the bound, both by the same amount, in place."""
    first, second = _pairs(rows)
    excess = first + second - (first + second).clip(-PAIR_LIMIT, PAIR_LIMIT)
    half = np.fix(excess / 2)
    first -= half
    second -= excess - half


def _pairs(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return views of the first and second weights of each pair of rows (C, n); an odd last one stands alone."""
    whole = rows.shape[1] // 2 * 2
    return rows[:, 0:whole:2], rows[:, 1:whole:2]


def _set(tensor: TensorProto, values: NDArray[np.generic]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
