"""Multiply-accumulates of one operation, from shapes; `qlot.export.targets` counts those of whole stages likewise."""

from __future__ import annotations

import math

from qlot.export.lint.graph import GraphNode, StageGraph

_CONVOLUTIONS = ("CONV_2D", "Conv", "conv")
_LINEARS = ("FULLY_CONNECTED", "linear")
_MATRICES = ("BATCH_MATMUL", "MatMul", "Gemm", "matmul")


def node_macs(graph: StageGraph, node: GraphNode) -> int:
    """Return the multiply-accumulates of one call; 0 for what is no product, or whose shapes the file does not say."""
    inputs = product_inputs(graph, node)
    output = graph.shape(node.name)
    if inputs is None or output is None:
        return 0
    data, weights = (graph.shape(name) for name in inputs)
    if data is None or weights is None:
        return 0
    if node.op in _CONVOLUTIONS:  # weights (O, I / groups, H, W), or (O, H, W, I / groups) in TFLite
        return math.prod(output) * math.prod(weights[1:])
    if node.op == "DEPTHWISE_CONV_2D":  # (1, H, W, O)
        return math.prod(output) * math.prod(weights[1:3])
    if node.op in _LINEARS:
        return math.prod(output) * weights[-1]
    return math.prod(output) * _summed(data, output)


def product_inputs(graph: StageGraph, node: GraphNode) -> tuple[str, str] | None:
    """Return the names of a product's data and weights, None for what is no product."""
    if node.op in (*_CONVOLUTIONS, *_LINEARS, *_MATRICES, "DEPTHWISE_CONV_2D"):
        if graph.target == "coreml":
            names = (node.attributes.get("x", ""), node.attributes.get("y", "") or node.attributes.get("weight", ""))
            return names if all(names) else None
        return (node.inputs[0], node.inputs[1]) if len(node.inputs) > 1 else None
    return None


def _summed(data: tuple[int, ...], output: tuple[int, ...]) -> int:
    """Return the length of a matrix product's sums: the side of its first factor that is not the output's."""
    if len(data) < 2 or len(output) < 2:
        return data[-1] if data else 0
    rows = output[-2]
    return data[-1] if data[-2] == rows else data[-2]
