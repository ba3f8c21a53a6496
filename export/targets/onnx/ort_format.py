"""ONNX, `--packing ort`: ORT format, which reduced builds of ONNX Runtime read, and the operators to build them with.

ONNX Runtime's own converter, set as its documentation advises for phones that run on the CPU: optimisations are applied
here, once ("fixed"; a minimal build has no code for them), all but those that lay weights out for this machine's
processor. The list names each operator's types too: `--enable_reduced_operator_type_support` builds with those alone,
without that flag they are ignored. See onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx
from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

from qlot.export.errors import TargetError
from qlot.export.graphs.stages import Stage
from qlot.export.targets.base import Graph, Packed
from qlot.runtime.bundle.manifest import StageName, StageSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions.onnx import OnnxSession

OPERATORS = "required_operators.config"  # of the bundle
_WRITTEN = "required_operators_and_types.config"  # what the converter calls it
PLATFORM = "arm"  # for all that optimisations ask of a processor
_NCHWC = "com.microsoft.nchwc"  # operators whose weights are laid out for one kind of x86 processor


def pack(stages: Sequence[Stage], graphs: Mapping[StageName, Graph]) -> Packed:
    """Convert the stages' graphs to ORT format, load each, and list the operators of all.

    Raises:
        TargetError: the converter failed, the engine refuses a graph, or one is made for this machine alone.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, graph in graphs.items():
            (folder / f"{name}.onnx").write_bytes(graph.data)
        try:
            convert_onnx_models_to_ort(
                folder,
                optimization_styles=[OptimizationStyle.Fixed],
                target_platform=PLATFORM,
                save_optimized_onnx_model=True,  # to count what it holds
                enable_type_reduction=True,
            )
            packed = {s.name: _packed(folder, s, graphs[s.name]) for s in stages}
            operators = (folder / _WRITTEN).read_text(encoding="utf-8").replace(f"{folder.resolve()}/", "")
        except TargetError:
            raise
        except Exception as e:  # the converter's exceptions share no base class
            raise TargetError(f"ONNX Runtime's converter to ORT format failed: {e}") from e
    return Packed(packed, {OPERATORS: operators.encode()})


def _packed(folder: Path, stage: Stage, graph: Graph) -> Graph:
    data = (folder / f"{stage.name}.ort").read_bytes()
    nodes = onnx.load(folder / f"{stage.name}.optimized.onnx").graph.node
    if any(node.domain == _NCHWC for node in nodes):
        raise TargetError(f"the {stage.name} in ORT format is laid out for this machine's processor, not for a phone's")
    spec = StageSpec(file="", iterations=stage.iterations, inputs=stage.inputs, outputs=stage.outputs, macs=0, ops={})
    try:
        OnnxSession(data, spec, stage.name)
    except SessionError as e:
        raise TargetError(f"the {stage.name} in ORT format does not load: {e}") from e
    ops = dict(sorted(Counter(node.op_type for node in nodes).items()))
    return replace(graph, data=data, suffix=".ort", ops=ops)
