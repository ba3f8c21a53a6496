"""What a user may choose about Core ML packages beside the scheme. Needs no converter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from qlot.export.errors import SchemeError, TargetError
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.runtime.bundle.manifest import Target

MinIOS = Literal[17, 18]
ImageInput = Literal["tensor", "image"]


@dataclass(frozen=True)
class CoreMLOptions:
    """The defaults run on the most devices, and take crops that are not rounded.

    Attributes:
        min_ios: oldest iOS the packages run on, and the macOS of its year.
        image: how the extractor takes the crop: as a float32 tensor, or as an RGB image of 8 bits a channel.
    """

    min_ios: MinIOS = 17
    image: ImageInput = "tensor"


DEFAULTS = CoreMLOptions()


def check_options(options: CoreMLOptions, target: Target, plan: SchemePlan) -> None:
    """Refuse options that their target or scheme does not have.

    Raises:
        TargetError: options of Core ML for another target.
        SchemeError: the scheme needs a newer iOS.
    """
    if target != "coreml" and options != DEFAULTS:
        raise TargetError(f"--min-ios and --image-input are for target coreml, not {target}: leave them out.")
    if target == "coreml" and options.min_ios < plan.min_ios:
        raise SchemeError(
            f"scheme {plan.name} needs iOS {plan.min_ios}, the first to unpack its blocks of weights: add --min-ios "
            f"{plan.min_ios}, or choose w8, which runs on iOS {options.min_ios}."
        )


def with_image_input(stages: Sequence[Stage], options: CoreMLOptions) -> list[Stage]:
    """Return the stages with the extractor's picture declared as the options say."""
    if options.image == "tensor":
        return list(stages)
    return [_of_image(s) if s.name == "extractor" else s for s in stages]


def _of_image(stage: Stage) -> Stage:
    (image,) = stage.inputs
    taken = image.model_copy(update={"dtype": "uint8", "meaning": "RGB crop as a Core ML image", "unit": "[0, 255]"})
    return replace(stage, inputs=(taken,))
