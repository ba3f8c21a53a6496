"""ONNX as a target: a file for each stage, or ORT format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qlot.export.graphs.schemes import PLANS, SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.options import DEFAULTS, TargetOptions
from qlot.export.targets.base import Graph, Packed, StageInputs
from qlot.export.targets.onnx import ort_format
from qlot.export.targets.onnx.convert import convert
from qlot.export.targets.rules import check_plan
from qlot.runtime.bundle.manifest import Lowering, StageName


@dataclass(frozen=True)
class OnnxConverter:
    """What `Converter` says, for ONNX; its option is `packing`."""

    options: TargetOptions = DEFAULTS
    # Engines for ONNX run on CPUs: an integer gather is cheap there, a correlation map is not.
    default_lowering: Lowering = "windowed"
    tools: tuple[str, ...] = ("torch", "onnx", "onnxscript", "onnxruntime")
    min_ios: int | None = None

    def plan(self, plan: SchemePlan) -> SchemePlan:
        """Return the plan; in ORT format, without the small storage that is unpacked when it is written."""
        check_plan("onnx", plan, self.options)
        if self.options.packing is None:
            return plan
        kept = {"kept float": PLANS[plan.name].rules["kept float"]} if "kept float" in plan.rules else {}
        return replace(plan, rules={**plan.rules, **kept})

    def declare(self, stages: Sequence[Stage]) -> list[Stage]:
        """Return the stages: their interface is the graphs'."""
        return list(stages)

    def convert(self, stage: Stage, plan: SchemePlan, calibration: StageInputs | None) -> Graph:
        """Convert a stage to opset 18."""
        return convert(stage, plan, calibration)

    def pack(self, stages: Sequence[Stage], graphs: Mapping[StageName, Graph]) -> Packed:
        """Leave each graph a file, or put all into ORT format."""
        return Packed(graphs) if self.options.packing is None else ort_format.pack(stages, graphs)
