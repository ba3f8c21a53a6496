"""Core ML as a target: a package for each stage, or one package of functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.options import DEFAULTS, TargetOptions
from qlot.export.targets.base import Graph, Packed, StageInputs
from qlot.export.targets.coreml import multifunction
from qlot.export.targets.coreml.convert import convert
from qlot.export.targets.rules import check_own, check_plan, oldest_ios
from qlot.runtime.bundle.manifest import Lowering, StageName


@dataclass(frozen=True)
class CoreMLConverter:
    """What `Converter` says, for Core ML; its options are all of `TargetOptions`.

    Raises:
        ExportError: a package of functions for an iOS that cannot open it.
    """

    options: TargetOptions = DEFAULTS
    default_lowering: Lowering = "dense"  # tent products, no gathers: what GPUs and the neural engine are made for
    tools: tuple[str, ...] = ("torch", "coremltools")

    def __post_init__(self) -> None:
        check_own("coreml", self.options)

    @property
    def min_ios(self) -> int:
        """Oldest iOS that runs the packages."""
        return oldest_ios(self.options)

    def plan(self, plan: SchemePlan) -> SchemePlan:
        """Return the plan; refuse one whose storage needs a newer iOS."""
        check_plan("coreml", plan, self.options)
        return plan

    def declare(self, stages: Sequence[Stage]) -> list[Stage]:
        """Return the stages with the extractor's picture declared as the options say."""
        if not self.options.image_input:
            return list(stages)
        return [_of_image(s) if s.name == "extractor" else s for s in stages]

    def convert(self, stage: Stage, plan: SchemePlan, calibration: StageInputs | None) -> Graph:
        """Convert a stage to a package, and run it."""
        return convert(stage, plan, calibration, self.min_ios)

    def pack(self, stages: Sequence[Stage], graphs: Mapping[StageName, Graph]) -> Packed:
        """Leave each stage a package, or merge all into one, a function each."""
        return Packed(graphs) if self.options.packing is None else multifunction.pack(stages, graphs)


def _of_image(stage: Stage) -> Stage:
    (image,) = stage.inputs
    taken = image.model_copy(update={"dtype": "uint8", "meaning": "RGB crop as a Core ML image", "unit": "[0, 255]"})
    return replace(stage, inputs=(taken,))
