"""TFLite as a target: a file for each stage, or one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.options import DEFAULTS, TargetOptions
from qlot.export.targets.base import Graph, Packed, StageInputs
from qlot.export.targets.tflite import single_file
from qlot.export.targets.tflite.convert import convert
from qlot.runtime.bundle.manifest import Lowering, StageName


@dataclass(frozen=True)
class TFLiteConverter:
    """What `Converter` says, for LiteRT; its option is `packing`."""

    options: TargetOptions = DEFAULTS
    default_lowering: Lowering = "dense"  # tent products stay in one partition; gathers leave the delegate
    tools: tuple[str, ...] = ("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert")
    min_ios: int | None = None

    def plan(self, plan: SchemePlan) -> SchemePlan:
        """Return the plan: either packing keeps it."""
        return plan

    def declare(self, stages: Sequence[Stage]) -> list[Stage]:
        """Return the stages: their interface is the files'."""
        return list(stages)

    def convert(self, stage: Stage, plan: SchemePlan, calibration: StageInputs | None) -> Graph:
        """Convert a stage to a file of one signature, and run it under XNNPACK."""
        return convert(stage, plan, calibration)

    def pack(self, stages: Sequence[Stage], graphs: Mapping[StageName, Graph]) -> Packed:
        """Leave each graph a file, or put all into one, a signature each."""
        return Packed(graphs) if self.options.packing is None else single_file.pack(stages, graphs)
