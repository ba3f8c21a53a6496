"""Rules of TFLite graphs: LiteRT's GPU delegate, and XNNPACK."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qlot.export.lint.devices import tables
from qlot.export.lint.finding import Hit, LintContext, LintRule, Severity
from qlot.export.lint.graph import GraphNode, StageGraph

_BROADCASTING = ("ADD", "MUL")
_PAIRS = ("SUB", "DIV", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD")
_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE")


def gpu_refusal(graph: StageGraph, node: GraphNode) -> str | None:
    """Return why the GPU delegate leaves an operation to the CPU, None if it takes it."""
    unit = tables()["gpu-delegate"]
    if node.op not in unit["ops"]:
        return "no operation of the GPU delegate"
    ranks = [len(s) for name in (*node.inputs, *node.outputs) if name and (s := graph.shape(name)) is not None]
    if max(ranks, default=0) > unit["max_rank"]:
        return f"tensors of {max(ranks)} dimensions are not delegated to the GPU, {unit['max_rank']} are"
    if node.op in _PAIRS and len(node.inputs) == 2 and node.inputs[0] == node.inputs[1]:
        return "an operation on one tensor twice is not delegated to the GPU"
    return None


def _gpu_left(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    for node in graph.computing:
        if why := gpu_refusal(graph, node):
            yield Hit(node.op, node.name, f"{why}: it runs on the CPU, or CompiledModel refuses the file")


def _gpu_add_output(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    for node in graph.computing:
        read = node.name in graph.outputs and graph.readers[node.name]
        if node.op == "ADD" and read and len(graph.running(node)) == 2:
            yield Hit(node.op, node.name, "the GPU delegate returns one of its operands as this output, not the sum")


def _gpu_mixed_rank(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    for node in graph.computing:
        if node.op not in _BROADCASTING or len(graph.running(node)) != 2:
            continue
        shapes = [graph.shape(name) or () for name in node.inputs]
        low, high = sorted(shapes, key=len)
        if len(low) != len(high) and math.prod(low) > 1:
            yield Hit(node.op, node.name, f"GPU delegates misalign operands of {len(low)} and {len(high)} dimensions")


def _gpu_batched_attention(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    """Softmax between two rank-3 products of computed tensors, heads as batch."""
    for node in graph.computing:
        if node.op != "SOFTMAX" or len(graph.shape(node.name) or ()) != 3 or (graph.shape(node.name) or (1,))[0] == 1:
            continue
        after = [n for n in graph.nodes if node.name in n.inputs and n.op == "BATCH_MATMUL"]
        if after and _from_product(graph, node.inputs[0]):
            yield Hit(
                node.op, node.name, "attention of rank 3 with heads as batch is reported to come out wrong on a GPU"
            )


def _from_product(graph: StageGraph, name: str) -> bool:
    """Whether a tensor is a rank-3 product of two computed ones, scaled or reshaped at most."""
    maker = graph.makers.get(name)
    while maker is not None and maker.op in ("MUL", *_RESHAPES) and len(graph.running(maker)) == 1:
        maker = graph.makers.get(graph.running(maker)[0])
    if maker is None or maker.op != "BATCH_MATMUL":
        return False
    return len(graph.running(maker)) == 2 and len(graph.shape(maker.name) or ()) == 3


def _gpu_int8(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    for node in graph.computing:
        if graph.dtype(node.name) in ("int8", "uint8"):
            yield Hit("int8", node.name, "the GPU delegate takes int8 values only when told to, and computes in floats")


def xnnpack_refusal(graph: StageGraph, node: GraphNode) -> str | None:
    """Return why XNNPACK leaves an operation to LiteRT's own kernels, None if it takes it."""
    unit = tables()["xnnpack"]
    int8 = any(graph.dtype(name) in ("int8", "uint8") for name in (*graph.running(node), *node.outputs))
    if node.op in unit["ops"] and not (int8 and node.op not in unit["int8"]):
        return None
    return f"not in XNNPACK's list{' for int8 values' if int8 else ''}"


def _xnnpack_left(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    for node in graph.computing:
        if why := xnnpack_refusal(graph, node):
            yield Hit(node.op, node.name, f"{why}: the graph falls apart there")


RULES = (
    LintRule(
        "tflite/gpu-add-output", Severity.ERROR, "google-ai-edge/LiteRT#8599 (open, 2026-08)",
        "export the bundle again; in a graph of your own, return a difference in place of the sum", "gpu-delegate",
        _gpu_add_output,
    ),
    LintRule(
        "tflite/gpu-mixed-rank", Severity.WARNING, "google-ai-edge/LiteRT#8980 and pull request #8975 (2026-08)",
        "give both operands the same number of dimensions", "gpu-delegate", _gpu_mixed_rank,
    ),
    LintRule(
        "tflite/gpu-batched-attention", Severity.WARNING, "google-ai-edge/LiteRT#8619 (open, 2026-07)",
        "compare the GPU's outputs with the CPU's before you ship; keep the stage on the CPU if they differ",
        "gpu-delegate", _gpu_batched_attention,
    ),
    LintRule(
        "tflite/gpu-op", Severity.WARNING,
        "google-ai-edge/LiteRT model_builder.cc; #2540 (rank 5), #5197 (GATHER_ND), #9191 (BROADCAST_TO), #9192",
        "keep the stage on the CPU", "gpu-delegate", _gpu_left,
    ),
    LintRule(
        "tflite/gpu-int8", Severity.NOTE, "google-ai-edge/LiteRT model_builder.cc, allow_quant_ops (2026)",
        "export --fp16 for a GPU", "gpu-delegate", _gpu_int8,
    ),
    LintRule(
        "tflite/xnnpack-op", Severity.WARNING, "google-ai-edge/LiteRT tflite/delegates/xnnpack/README.md (2026)",
        "see what the manifest says the engine left outside: qlot inspect", "xnnpack", _xnnpack_left,
    ),
)  # fmt: skip
