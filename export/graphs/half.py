"""The fp16 scheme, in the traced modules themselves: casts stand where the arithmetic changes, on every target."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage


class HalfExtractorPart(nn.Module):
    """Backbone or pyramid in float16 throughout; only the ends of the chain are cast."""

    def __init__(self, part: nn.Module, last: bool) -> None:
        super().__init__()
        self.part, self.last = part.half(), last

    def forward(self, x: Tensor | list[Tensor]) -> object:
        """Cast the input where it is float32; cast the output back where the chain ends."""
        y = self.part(x.half() if isinstance(x, Tensor) else x)
        return ([t.float() for t in y[0]], y[1].float()) if self.last else y


class HalfLinear(nn.Module):
    """One linear layer in float16 between float32 neighbours."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear.half()

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), float32."""
        return self.linear(x.half()).float()


def to_half(stage: Stage, plan: SchemePlan) -> Stage:
    """Return a stage whose float16 groups compute in float16; the given stage is left as it is."""
    module = copy.deepcopy(stage.module)
    if plan.arithmetic["extractor convolutions"] == "float16":
        module.model.backbone = HalfExtractorPart(module.model.backbone, last=False)
        module.model.pyramid = HalfExtractorPart(module.model.pyramid, last=True)
    for path, child in list(module.named_modules()):
        if isinstance(child, nn.Linear) and path.startswith("model.refiner") and plan.quantised(path) == "float16":
            parent, name = module.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
            setattr(parent, name, HalfLinear(child))
    return Stage(stage.name, module, stage.inputs, stage.outputs, stage.iterations)


def is_half(plan: SchemePlan) -> bool:
    """Whether any group of a plan computes in float16."""
    return "float16" in plan.arithmetic.values()
