"""Run a float TFLite graph in NumPy, so that its values are known where no engine is installed.

Covers what exported graphs have; another operation is refused by name. Layouts are TFLite's: maps (1, H, W, C).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlot.export.lint.graph import GraphNode, LintError, StageGraph

Array = NDArray[Any]
_SAME, _RELU, _RELU_N1_TO_1, _RELU6 = 0, 1, 2, 3


def run_graph(graph: StageGraph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return every tensor of one call by name, constants included.

    Raises:
        LintError: the graph has an operation that is not covered, or integer arithmetic.
    """
    values = {name: t.values for name, t in graph.tensors.items() if t.values is not None}
    values.update(feeds)
    for node in graph.nodes:
        if graph.running(node) and graph.dtype(node.name) not in ("float32", "float16"):
            raise LintError(f"the {graph.stage} computes in {graph.dtype(node.name)}, which is not followed here")
        compute = _OPERATIONS.get(node.op)
        if compute is None or len(node.outputs) != 1:
            raise LintError(f"the {graph.stage} has {node.op}, which is not computed here")
        found = compute(node, [values[name] for name in node.inputs if name])
        values[node.name] = _activated(found, node.attributes.get("activation", 0))
    return values


def patches(node: GraphNode, x: Array, kernel: tuple[int, int], fill: float = 0.0) -> Array:
    """Return what each place of a window sees: (1, H, W, C) -> (rows, columns, kernel height, kernel width, C)."""
    a = node.attributes
    steps = a["stride_h"], a["stride_w"]
    holes = a.get("dilation_h", 1), a.get("dilation_w", 1)
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, holes, strict=True))
    if a["padding"] == _SAME:
        needed = [max((-(-n // s) - 1) * s + w - n, 0) for n, s, w in zip(x.shape[1:3], steps, spans, strict=True)]
        x = np.pad(x, [(0, 0), *((n // 2, n - n // 2) for n in needed), (0, 0)], constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x[0], spans, axis=(0, 1))  # (rows, columns, C, h, w)
    windows = windows[:: steps[0], :: steps[1], :, :: holes[0], :: holes[1]]
    return np.moveaxis(windows, 2, -1)


def _activated(x: Array, activation: int) -> Array:
    low, high = {_RELU: (0, None), _RELU_N1_TO_1: (-1, 1), _RELU6: (0, 6)}.get(activation, (None, None))
    return x if low is None else np.clip(x, low, high)


def _conv(node: GraphNode, inputs: list[Array]) -> Array:
    x, weights, *bias = inputs
    groups = x.shape[-1] // weights.shape[-1]
    seen = np.split(patches(node, x, weights.shape[1:3]), groups, -1)
    parts = zip(seen, np.split(weights, groups), strict=True)
    out = np.concatenate([np.tensordot(part, w, ([2, 3, 4], [1, 2, 3])) for part, w in parts], -1)[None]
    return out + bias[0] if bias else out


def _depthwise(node: GraphNode, inputs: list[Array]) -> Array:
    x, weights, *bias = inputs
    seen = patches(node, x, weights.shape[1:3])
    out = np.einsum("rckjo,kjo->rco", np.repeat(seen, weights.shape[-1] // seen.shape[-1], -1), weights[0])[None]
    return out + bias[0] if bias else out


def _fully(_: GraphNode, inputs: list[Array]) -> Array:
    x, weights, *bias = inputs
    out = x.reshape(-1, weights.shape[1]) @ weights.T
    return out + bias[0] if bias else out


def _matmul(node: GraphNode, inputs: list[Array]) -> Array:
    x, y = inputs
    x = np.swapaxes(x, -1, -2) if node.attributes["adj_x"] else x
    return x @ (np.swapaxes(y, -1, -2) if node.attributes["adj_y"] else y)


def _max_pool(node: GraphNode, inputs: list[Array]) -> Array:
    kernel = node.attributes["filter_h"], node.attributes["filter_w"]
    return patches(node, inputs[0], kernel, -np.inf).max((2, 3))[None]


def _resize(node: GraphNode, inputs: list[Array]) -> Array:
    x, size = inputs
    for axis, target in zip((1, 2), size, strict=True):
        n = x.shape[axis]
        at = np.arange(target)
        if node.attributes["align_corners"]:
            place = at * (n - 1) / max(target - 1, 1)
        elif node.attributes["half_pixel_centers"]:
            place = np.maximum((at + 0.5) * n / target - 0.5, 0)
        else:
            place = at * n / target
        low = np.minimum(place.astype(int), n - 1)
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        share = (place - low).astype(x.dtype).reshape(shape)
        x = x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, n - 1), axis) * share
    return x


def _slice(_: GraphNode, inputs: list[Array]) -> Array:
    x, begin, size = inputs
    ends = [n if s < 0 else b + s for n, b, s in zip(x.shape, begin, size, strict=True)]
    return x[tuple(itertools.starmap(slice, zip(begin, ends, strict=True)))]


def _softmax(_: GraphNode, inputs: list[Array]) -> Array:
    e = np.exp(inputs[0] - inputs[0].max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _mean(node: GraphNode, inputs: list[Array]) -> Array:
    axes = tuple(int(a) for a in np.atleast_1d(inputs[1]))
    return inputs[0].mean(axes, keepdims=bool(node.attributes["keep_dims"]))


def _simple(compute: Callable[..., Array]) -> Callable[[GraphNode, list[Array]], Array]:
    return lambda _, inputs: compute(*inputs)


_OPERATIONS: dict[str, Callable[[GraphNode, list[Array]], Array]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully,
    "BATCH_MATMUL": _matmul,
    "MAX_POOL_2D": _max_pool,
    "RESIZE_BILINEAR": _resize,
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "MEAN": _mean,
    "CONCATENATION": lambda node, inputs: np.concatenate(inputs, node.attributes["axis"]),
    "RESHAPE": lambda _, inputs: inputs[0].reshape(inputs[1]),
    "PAD": lambda _, inputs: np.pad(inputs[0], inputs[1]),
    "TRANSPOSE": lambda _, inputs: inputs[0].transpose(inputs[1]),
    "DEQUANTIZE": lambda _, inputs: inputs[0].astype(np.float32),
    "LOGISTIC": lambda _, inputs: (1 / (1 + np.exp(-inputs[0].astype(np.float64)))).astype(inputs[0].dtype),
    **{
        op: _simple(compute)
        for op, compute in {
            "ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide, "MAXIMUM": np.maximum,
            "MINIMUM": np.minimum, "ABS": np.abs, "SQRT": np.sqrt, "TANH": np.tanh,
        }.items()
    },
}  # fmt: skip
