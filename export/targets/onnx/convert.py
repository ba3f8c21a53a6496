"""ONNX: traced by torch.onnx (dynamo), opset 18, one self-contained file per stage."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import onnx
import torch
from onnx import ModelProto

from qlot.export.errors import TargetError
from qlot.export.graphs.half import is_half, to_half
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.targets.base import Graph, StageInputs
from qlot.export.targets.onnx.int8 import quantise
from qlot.export.targets.onnx.storage import store

OPSET = 18
IR_VERSION = 8  # the lowest that has this opset; the tracer says its own newest, which older engines refuse unread
_SCOPES = "pkg.torch.onnx.name_scopes"


def convert(stage: Stage, plan: SchemePlan, calibration: StageInputs | None) -> Graph:
    """Convert a stage.

    Raises:
        TargetError: the plan needs calibration inputs and there are none; the exporter failed; or the result is not a
            valid opset 18 graph.
    """
    if plan.calibrated and not calibration:
        raise TargetError(f"scheme {plan.name} needs calibration inputs for the {stage.name}")
    return under(trace(to_half(stage, plan) if is_half(plan) else stage), stage, plan, calibration)


def under(
    model: ModelProto, stage: Stage, plan: SchemePlan, calibration: StageInputs | None, ranges: Path | None = None
) -> Graph:
    """Put a traced stage under a scheme. The traced graph may be changed; for `ranges` see `quantise`.

    Raises:
        TargetError: the result is not a valid opset 18 graph.
    """
    macs = count_macs(model)
    paths = module_paths(model)
    if plan.calibrated:
        model = quantise(model, plan, paths, calibration or (), ranges)
    store(model, plan, paths)
    _strip(model)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    opsets = {o.domain: o.version for o in model.opset_import}
    if opsets.get("") != OPSET:
        raise TargetError(f"the {stage.name} came out with opsets {opsets}, wanted {OPSET}")
    ops = Counter(node.op_type for node in model.graph.node)
    return Graph(model.SerializeToString(), ".onnx", macs, dict(sorted(ops.items())))


def trace(stage: Stage) -> ModelProto:
    """Trace a stage with its canonical tensor names."""
    with torch.inference_mode(mode=False), torch.no_grad():
        try:
            program = torch.onnx.export(
                stage.module,
                stage.example(),
                dynamo=True,
                opset_version=OPSET,
                input_names=[t.name for t in stage.inputs],
                output_names=[t.name for t in stage.outputs],
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as e:
            raise TargetError(f"the ONNX exporter failed on the {stage.name}: {e}") from e
    model = onnx.shape_inference.infer_shapes(program.model_proto, data_prop=True)
    gather_elements(model)
    return model


def module_paths(model: ModelProto) -> dict[str, str]:
    """Map each node to the path of the module it was traced from."""
    paths = {}
    for node in model.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == _SCOPES), "[]")
        names = [s.strip(" '\"") for s in scopes.strip("[]").split(",")]
        paths[node.name] = next((n for n in reversed(names[:-1]) if n), "")
    return paths


def count_macs(model: ModelProto) -> int:
    """Count the multiply-accumulates of convolutions and matrix products from the inferred shapes."""
    shapes = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    shapes.update({t.name: tuple(t.dims) for t in model.graph.initializer})
    unknown = [n.name for n in model.graph.node for name in n.output if 0 in shapes.get(name, (0,))]
    if unknown:
        raise TargetError(f"the graph has outputs of unknown shape at: {', '.join(unknown[:5])}")
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            total += math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            total += math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else -1]
    return total


def gather_elements(model: ModelProto) -> None:
    """Turn each Gather of single values by a flat index into a GatherElements by int32, which is the same.

    ONNX Runtime copies a slice of one value in 10 ns, and an element in 2 ns. The tracer makes an index int64 and flat
    once more; both steps go.
    """
    graph = model.graph
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in (*graph.value_info, *graph.input)}
    readers = Counter(name for node in graph.node for name in node.input)
    makers = {output: node for node in graph.node for output in node.output}

    def is_superfluous(name: str) -> bool:
        maker = makers.get(name)
        flat = maker is not None and maker.op_type in ("Cast", "Reshape") and ranks[maker.input[0]] == 1
        return flat and readers[name] == 1

    for node in [n for n in graph.node if n.op_type == "Gather" and [ranks.get(i) for i in n.input] == [1, 1]]:
        node.op_type = "GatherElements"
        while is_superfluous(node.input[1]):
            step = makers[node.input[1]]
            node.input[1] = step.input[0]
            graph.node.remove(step)


def _strip(model: ModelProto) -> None:
    """Drop what the tracer notes for itself: stack traces with paths of this machine do not ship."""
    model.doc_string = ""
    model.producer_name, model.producer_version = "qlot-mobile", ""
    del model.metadata_props[:]
    for thing in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        thing.doc_string = ""
        del thing.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
