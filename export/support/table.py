"""Target x scheme x options: what an export takes, what it refuses and why, and what was verified where.

Nothing is decided here: schemes, packings and refusals are asked of the code that an export asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

from qlot.export.errors import ExportError
from qlot.export.graphs.schemes import PLANS, plan_for
from qlot.export.options import DEFAULTS, MinIOS, Packing, TargetOptions
from qlot.export.targets.rules import check_lowering, check_own, check_plan
from qlot.runtime.bundle.manifest import Lowering, Scheme, Target
from qlot.runtime.cli.platforms import PLATFORMS

NOT_YET = "on no phone and no Mac"


@dataclass(frozen=True)
class Verified:
    """Where a target's bundles run, and where they were run.

    Attributes:
        engine: that apps open the graphs with.
        here: what replays every bundle before it is written.
        elsewhere: where else bundles were run, or ran in part.
    """

    engine: str
    here: str
    elsewhere: str


VERIFIED: dict[Target, Verified] = {
    "onnx": Verified(
        "ONNX Runtime, 1.17 or newer",
        "ONNX Runtime on the CPU, where the export runs",
        "emulated x86 and ARM processors (docs/processors.md)",
    ),
    "tflite": Verified(
        "LiteRT, with the operators that `qlot inspect` lists",
        "LiteRT with XNNPACK on the CPU, where the export runs",
        "emulated x86 and ARM processors (docs/processors.md); on no GPU or NPU delegate",
    ),
    "coreml": Verified(
        "Core ML, iOS 17 and macOS 14 or newer",
        "off a Mac qlot.mil, an interpreter of Core ML programs, which is not Core ML itself",
        "in no Core ML",
    ),
}


@dataclass(frozen=True)
class Choice:
    """One combination, and the reason why it is refused; None if it is taken."""

    target: Target
    scheme: Scheme
    options: TargetOptions
    lowering: Lowering | None
    refused: str | None


def refusal(target: Target, scheme: str, options: TargetOptions, lowering: Lowering | None = None) -> str | None:
    """Return why an export would refuse a combination before it converts anything, in its own words; None if not."""
    try:
        check_own(target, options)
        check_plan(target, plan_for(target, scheme), options)
        check_lowering(target, lowering)
    except ExportError as e:
        return str(e)
    return None


def choices() -> Iterator[Choice]:
    """Yield every combination that the command line can ask for."""
    packings: tuple[Packing | None, ...] = (None, *get_args(Packing))
    systems: tuple[MinIOS | None, ...] = (None, *get_args(MinIOS))
    lowerings: tuple[Lowering | None, ...] = (None, *get_args(Lowering))
    for target, scheme, packing, ios, image, lowering in product(
        get_args(Target), get_args(Scheme), packings, systems, (False, True), lowerings
    ):
        options = TargetOptions(packing, ios, image)
        yield Choice(target, scheme, options, lowering, refusal(target, scheme, options, lowering))


def variants(target: Target) -> list[tuple[str, TargetOptions]]:
    """Return what a reader wants to compare of a target: flags, and the options that they stand for."""
    found: list[tuple[str, TargetOptions]] = [("", DEFAULTS)]
    if target == "coreml":
        found.append(("--min-ios 18", TargetOptions(min_ios=18)))
        found.append(("--image-input", TargetOptions(image_input=True)))
        found.append(("--packing multifunction --min-ios 18", TargetOptions("multifunction", 18)))
        return found
    found += [(f"--packing {p}", TargetOptions(p)) for p in get_args(Packing) if _takes(target, TargetOptions(p))]
    return found


def platforms(target: Target) -> dict[str, str | None]:
    """Return for every platform of `qlot pack` why it does not take the target; None if it does."""
    return {name: platform.refused.get(target) for name, platform in PLATFORMS.items()}


def as_data() -> dict[str, Any]:
    """Return everything as plain JSON types."""
    return {
        "targets": {
            target: {
                "engine": verified.engine,
                "packs_for": platforms(target),
                "verified": {"here": verified.here, "elsewhere": verified.elsewhere, "device": NOT_YET},
            }
            for target, verified in VERIFIED.items()
        },
        "schemes": {
            name: {"experimental": plan.experimental, "calibrated": plan.calibrated, "tolerance_px": plan.tolerance.px}
            for name, plan in PLANS.items()
        },
        "choices": [
            {
                "target": c.target,
                "scheme": c.scheme,
                "packing": c.options.packing,
                "min_ios": c.options.min_ios,
                "image_input": c.options.image_input,
                "lowering": c.lowering,
                "refused": c.refused,
            }
            for c in choices()
        ],
    }


def _takes(target: Target, options: TargetOptions) -> bool:
    try:
        check_own(target, options)
    except ExportError:
        return False
    return True
