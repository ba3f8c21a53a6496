"""Rules of ONNX graphs: versions, and what ONNX Runtime's execution providers take."""

from __future__ import annotations

from collections.abc import Iterator

from qlot.export.lint.devices import engine_limits, oldest_engine, tables
from qlot.export.lint.finding import Check, Hit, LintContext, LintRule, Severity
from qlot.export.lint.graph import GraphNode, StageGraph

_OPEN = "github.com/microsoft/onnxruntime docs/reference/compatibility.md"


def provider_refusal(graph: StageGraph, node: GraphNode, provider: str) -> str | None:
    """Return why an execution provider leaves an operation to the CPU's kernels, None if its list has it."""
    unit = tables()[provider]
    if node.op not in unit["ops"]:
        return f"not in the list of {provider}"
    most = unit.get("max_rank", {}).get(node.op)
    rank = len(graph.shape(node.name) or ())
    if most is not None and rank > most:
        return f"{rank} dimensions are not taken by {provider}, {most} are"
    if provider == "coreml-ep" and node.op == "Gemm" and graph.running(node)[1:]:
        return f"a computed second factor is not taken by {provider}"
    return None


def _version(kind: str, place: int) -> Check:
    def check(graph: StageGraph, context: LintContext) -> Iterator[Hit]:
        found = graph.versions.get(kind)
        if found is None or context.engine_version is None:
            return
        most = engine_limits(context.engine_version)[place]
        if found > most:
            text = f"{kind} version {found} is not taken by ONNX Runtime {context.engine_version}, which goes to {most}"
            yield Hit("file", "", text)

    return check


def _oldest(graph: StageGraph, context: LintContext) -> Iterator[Hit]:
    opset, ir = graph.versions.get("opset"), graph.versions.get("ir")
    if context.engine_version is None and opset is not None and ir is not None:
        found = oldest_engine(opset, ir) or f"newer than {tables()['onnxruntime']['versions'][-1][0]}"
        yield Hit("file", "", f"opset {opset} at IR version {ir}: by its table, ONNX Runtime {found} is the oldest")


def _left(provider: str) -> Check:
    def check(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
        for node in graph.computing:
            if why := provider_refusal(graph, node, provider):
                yield Hit(node.op, node.name, f"{why}: it runs on the CPU")

    return check


def _qnn_floats(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    for node in graph.computing:
        if node.op == "MatMul" and graph.dtype(node.name) == "float32":
            text = "QNN's page lists MatMul on the NPU for quantised inputs; as floats it depends on fp16 support"
            yield Hit(node.op, node.name, text)


def _open_shapes(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    for name in graph.inputs:
        if graph.shape(name) is None:
            yield Hit("input", name, "an input without fixed sizes is not taken by QNN")


RULES = (
    LintRule(
        "onnx/opset", Severity.ERROR, _OPEN, "pin a newer ONNX Runtime in the app", None, _version("opset", 0)
    ),
    LintRule("onnx/ir", Severity.ERROR, _OPEN, "pin a newer ONNX Runtime in the app", None, _version("ir", 1)),
    LintRule("onnx/oldest-engine", Severity.NOTE, _OPEN, "--engine-version holds it against yours", None, _oldest),
    LintRule(
        "onnx/coreml-ep-op", Severity.WARNING, "onnxruntime 1.32.0, coreml_supported_mlprogram_ops.md",
        "export --lowering dense, or --target coreml", "coreml-ep", _left("coreml-ep"),
    ),
    LintRule(
        "onnx/qnn-ep-op", Severity.WARNING, "onnxruntime/onnxruntime-qnn, QNN-ExecutionProvider.md (v2.3.0)",
        "export --lowering dense, or stay on the CPU", "qnn-ep", _left("qnn-ep"),
    ),
    LintRule(
        "onnx/qnn-ep-float", Severity.NOTE, "onnxruntime/onnxruntime-qnn, QNN-ExecutionProvider.md (v2.3.0)",
        "keep enable_htp_fp16_precision at 1 and compare outputs on the device", "qnn-ep", _qnn_floats,
    ),
    LintRule(
        "onnx/qnn-ep-shape", Severity.ERROR, "onnxruntime/onnxruntime-qnn, QNN-ExecutionProvider.md (v2.3.0)",
        "fix the input's sizes", "qnn-ep", _open_shapes,
    ),
    LintRule(
        "onnx/xnnpack-ep-op", Severity.NOTE, "microsoft/onnxruntime, Xnnpack-ExecutionProvider.md",
        "nothing: the rest runs on the same processor", "xnnpack-ep", _left("xnnpack-ep"),
    ),
)  # fmt: skip
