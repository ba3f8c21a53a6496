"""Core ML as a target: a package for each stage, or one package of functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qlot.export.errors import ExportError, SchemeError
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.options import DEFAULTS, TargetOptions
from qlot.export.targets.base import Graph, Packed, StageInputs
from qlot.export.targets.coreml import multifunction
from qlot.export.targets.coreml.convert import FIRST_IOS, convert
from qlot.runtime.bundle.manifest import Lowering, StageName

FUNCTIONS_FROM = 18  # iOS


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
        if self.options.packing is not None and self.min_ios < FUNCTIONS_FROM:
            raise ExportError(
                f"--packing multifunction needs iOS {FUNCTIONS_FROM}, the first to open a package by function: add "
                f"--min-ios {FUNCTIONS_FROM}, or leave --packing out."
            )

    @property
    def min_ios(self) -> int:
        """Oldest iOS that runs the packages."""
        return self.options.min_ios or FIRST_IOS

    def plan(self, plan: SchemePlan) -> SchemePlan:
        """Return the plan; refuse one whose storage needs a newer iOS."""
        if self.min_ios < plan.min_ios:
            raise SchemeError(
                f"scheme {plan.name} needs iOS {plan.min_ios}, the first to unpack its blocks of weights: add "
                f"--min-ios {plan.min_ios}, or choose w8, which runs on iOS {self.min_ios}."
            )
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
