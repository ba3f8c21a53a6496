"""The table of target x scheme: which modules are stored and computed how.

A scheme means the same arithmetic on every target; where an engine has another, the bundle's rules say which. Modules
fall into groups by their path in the fused network; whatever no group names stays float32: coordinates, tent weights,
correlation, position update, the state's encoding and the layer that reads it, output heads, softmaxes and their
logits, norms, gates, and all inputs and outputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from qlot.export.errors import SchemeError
from qlot.runtime.bundle.manifest import Scheme, Target, ToleranceSpec

# "... weights": stored so, computed in float32.
Arithmetic = Literal[
    "float32", "float16", "int8", "int8 weights", "int4 weights", "6-bit palette weights", "4-bit palette weights"
]

# Paths of the modules in the fused network, as they appear in the traced graphs; the first that matches counts. The
# paths of backbone and pyramid themselves stand for what happens between their convolutions.
GROUPS: Mapping[str, re.Pattern[str]] = {
    "extractor stem": re.compile(r"model\.backbone\.stem(\..*)?"),
    "extractor convolutions": re.compile(r"model\.(backbone(\..*)?|pyramid(\.(lateral|fuse)\..*)?)"),
    "refiner hidden linears": re.compile(
        r"model\.refiner\.(encoder\.(branches\.\d+\.linear|correlation\.\d+|context_features)"
        r"|mixer\.(write_route|read_route|local|out)|hidden_linear)"
    ),
    "refiner slots": re.compile(r"model\.refiner\.mixer\.(value|slot_\w+|local_film)"),
}


@dataclass(frozen=True)
class SchemePlan:
    """What a scheme does to each group, and how far its replay may stray from float32 PyTorch.

    The tolerance holds for any landmark in a free run, at any size of the input.
    """

    name: Scheme
    arithmetic: Mapping[str, Arithmetic]  # by group; float32 where there is none
    rules: dict[str, str]  # for people and the manifest
    tolerance: ToleranceSpec
    median_px: float  # of the distances over frames, steps and landmarks; of a stage alone likewise
    psnr: float  # dB, least of any output of the extractor, its peak the reference's range over the parity frames
    hidden: float  # largest error of the hidden state, which lies in [-1, 1], after one step of a stage alone
    calibrated: bool = False
    flicker: float = 0.03  # largest relative change of a track's flicker on the real clip
    flicker_moving: float = 0.03  # the same on exact motion under sensor noise,
    flicker_at_rest: float = 0.03  # and of a face at rest under it
    targets: tuple[Target, ...] = get_args(Target)  # not all of them: the scheme is experimental
    min_ios: int = 17  # what Core ML needs for its storage
    kept: Literal["float32", "float16"] = "float16"  # storage of larger weights that no group names, where it can be
    groups: Mapping[str, re.Pattern[str]] = field(default_factory=lambda: GROUPS)

    @property
    def experimental(self) -> bool:
        """Whether this is a trial that only some targets have."""
        return len(self.targets) < len(get_args(Target))

    def quantised(self, path: str) -> Arithmetic:
        """Arithmetic of a module by its path in the fused network."""
        return next((self.arithmetic.get(g, "float32") for g, p in self.groups.items() if p.fullmatch(path)), "float32")


# Of a constant stored as float16: biases, norms and the layer that reads coordinates have fewer.
LEAST_VALUES = 1024

_HALF_STORED = {
    "kept float": "everything else: float32 arithmetic, weights of 1,024 values or more stored as float16; all inputs "
    "and outputs float32"
}

_SLOTS = "int8 weights per head and output channel, float32 arithmetic: slots' matrices, local scales and offsets"

_SLOTS_OF_ALL_HEADS = {
    "refiner slots": _SLOTS.replace("per head and output channel", "per output channel of all heads")
}

_STORED: dict[Arithmetic, str] = {
    "int8 weights": "int8 weights per output channel",
    "int4 weights": "int4 weights, one scale for each output channel and block of at most 32 input channels",
    "6-bit palette weights": "weights out of a palette of 64 values per layer",
    "4-bit palette weights": "weights out of a palette of 16 values per layer",
}


def _experimental(
    name: Scheme, convolutions: Arithmetic, linears: Arithmetic, tolerance: ToleranceSpec, min_ios: int = 17
) -> SchemePlan:
    """Return a scheme of weights in few bits, which Core ML alone has: float32 arithmetic, all else as in w8."""
    return SchemePlan(
        name,
        {
            "extractor stem": "float32",
            "extractor convolutions": convolutions,
            "refiner hidden linears": linears,
            "refiner slots": "int8 weights",
        },
        {
            "status": "experimental",
            "extractor convolutions": f"{_STORED[convolutions]}, float32 arithmetic; the stem float32",
            "refiner hidden linears": f"{_STORED[linears]}, float32 arithmetic",
            **_SLOTS_OF_ALL_HEADS,
            **_HALF_STORED,
        },
        tolerance,
        median_px=0.5,
        psnr=20.0,
        hidden=0.5,
        flicker=0.1,
        flicker_moving=0.15,
        flicker_at_rest=0.5,
        targets=("coreml",),
        min_ios=min_ios,
    )


_KEPT = "everything else: float32 storage and arithmetic, all inputs and outputs float32"

PLANS: dict[Scheme, SchemePlan] = {
    "fp32": SchemePlan(
        "fp32",
        {
            "extractor stem": "float32",
            "extractor convolutions": "float32",
            "refiner hidden linears": "float32",
            "refiner slots": "float32",
        },
        {"all": "float32 storage and arithmetic"},
        tolerance=ToleranceSpec(px=0.02, log_sigma=0.002),
        median_px=0.002,
        psnr=90.0,
        hidden=0.001,
        kept="float32",
    ),
    "fp16": SchemePlan(
        "fp16",
        {
            "extractor stem": "float16",
            "extractor convolutions": "float16",
            "refiner hidden linears": "float16",
            "refiner slots": "float32",
        },
        {
            "extractor convolutions": "float16 weights and activations, like all else in backbone and pyramid",
            "refiner hidden linears": "float16 weights, float16 inputs and outputs, cast to float32 after each",
            "kept float": _KEPT,
        },
        tolerance=ToleranceSpec(px=0.15, log_sigma=0.05),
        median_px=0.02,
        psnr=60.0,
        hidden=0.02,
    ),
    "w8": SchemePlan(
        "w8",
        # The stem holds 0.7 % of the weights and most of the error: with it `final` strays by 0.59 px, without by 0.32.
        {
            "extractor stem": "float32",
            "extractor convolutions": "int8 weights",
            "refiner hidden linears": "int8 weights",
            "refiner slots": "int8 weights",
        },
        {
            "extractor convolutions": "int8 weights per output channel, float32 arithmetic; the stem float32",
            "refiner hidden linears": "int8 weights per output channel, float32 arithmetic",
            "refiner slots": _SLOTS,
            "kept float": _KEPT,
        },
        tolerance=ToleranceSpec(px=0.5, log_sigma=0.2),
        median_px=0.1,
        psnr=35.0,
        hidden=0.1,
    ),
    "w8a8": SchemePlan(
        "w8a8",
        # The refiner's activations stay float. Its softmaxes and exponentials differ between processors in the last
        # bit, and int8 behind them made 0.6 px of one. It would save at most 8 % of a frame's instructions on ARM
        # (docs/measured/2026-11-30-int8-portability.md).
        {
            "extractor stem": "int8",
            "extractor convolutions": "int8",
            "refiner hidden linears": "int8 weights",
            "refiner slots": "int8 weights",
        },
        {
            "extractor convolutions": "int8 weights per output channel, uint8 activations per tensor, "
            "int32 sums, static",
            "refiner hidden linears": "int8 weights per output channel, float32 arithmetic",
            "refiner slots": _SLOTS,
            "kept float": _KEPT,
        },
        tolerance=ToleranceSpec(px=1.5, log_sigma=0.3),
        median_px=0.25,
        psnr=30.0,
        hidden=0.5,
        calibrated=True,
        flicker=0.1,
        flicker_moving=0.1,
        flicker_at_rest=0.15,  # should be 0.1 as well, and Core ML misses it: docs/parity.md says by how much
    ),
    "palette6": _experimental(
        "palette6",
        convolutions="6-bit palette weights",
        linears="6-bit palette weights",
        tolerance=ToleranceSpec(px=1.5, log_sigma=0.3),
    ),
    # Four bits in the convolutions cost three pixels of 128, and gain less than six bits there do over eight.
    "palette4": _experimental(
        "palette4",
        convolutions="6-bit palette weights",
        linears="4-bit palette weights",
        tolerance=ToleranceSpec(px=2.5, log_sigma=0.3),
    ),
    "w4": _experimental(
        "w4",
        convolutions="int8 weights",
        linears="int4 weights",
        tolerance=ToleranceSpec(px=2.5, log_sigma=0.3),
        min_ios=18,
    ),
}

_PAIRS = "weights of neighbouring inputs add up to 128 at most, so that no 16-bit sum of two products overflows"

# Where an engine has no such arithmetic as the table's, what it does instead stands in the bundle's rules.
_ON_TARGET: dict[tuple[Target, Scheme], dict[str, str]] = {
    ("onnx", "fp16"): _HALF_STORED,
    ("onnx", "w8"): _HALF_STORED,
    ("onnx", "w8a8"): {
        **_HALF_STORED,
        "extractor convolutions": "int8 weights per output channel, uint8 activations per tensor, int32 sums, static; "
        f"{_PAIRS}; the stem float32, of whole numbers whose sums are exact",
    },
    ("tflite", "w8"): {**_HALF_STORED, **_SLOTS_OF_ALL_HEADS},
    ("tflite", "fp16"): {
        **_HALF_STORED,
        "extractor convolutions": "float16 weights, unpacked at load: float32 arithmetic unless the app forces float16",
        "refiner hidden linears": "float16 weights, unpacked at load: float32 arithmetic unless the app forces float16",
    },
    ("tflite", "w8a8"): {
        **_HALF_STORED,
        **_SLOTS_OF_ALL_HEADS,
        "extractor convolutions": "int8 weights per output channel, int8 activations per tensor, int32 sums, static",
    },
    ("coreml", "w8"): {**_HALF_STORED, **_SLOTS_OF_ALL_HEADS},
    ("coreml", "fp16"): {
        **_HALF_STORED,
        "extractor convolutions": "float16 weights and activations, like all that lies between them",
    },
    ("coreml", "w8a8"): {
        **_HALF_STORED,
        **_SLOTS_OF_ALL_HEADS,
        "extractor convolutions": "int8 weights per output channel, int8 inputs and outputs per tensor, "
        "static; float16 between; products of int8 where the hardware has them, else of the same values in float16",
    },
}

# Likewise a group's arithmetic. Without an int8 stem `final` errs by 0.9 px instead of 1.8 in ONNX Runtime; the other
# targets gain nothing by it (docs/quantisation.md).
_ARITHMETIC_ON: dict[tuple[Target, Scheme], dict[str, Arithmetic]] = {
    ("onnx", "w8a8"): {"extractor stem": "float32"},
}

ALIASES: dict[str, Scheme] = {"fp16": "fp16", "int8": "w8a8"}


def plan_for(target: Target, scheme: str) -> SchemePlan:
    """Look up the plan of a scheme on a target.

    Raises:
        SchemeError: unknown, with the choices; or not on this target, with the nearest.
    """
    name = ALIASES.get(scheme, scheme)
    if name not in PLANS:
        raise SchemeError(f"unknown scheme {scheme!r}; there are: {', '.join(PLANS)}")
    plan = PLANS[name]
    if target not in plan.targets:
        raise SchemeError(
            f"scheme {name} is experimental and for target {' and '.join(plan.targets)} alone: {target} has no such "
            "storage; the nearest is w8."
        )
    arithmetic, rules = _ARITHMETIC_ON.get((target, plan.name), {}), _ON_TARGET.get((target, plan.name), {})
    return replace(plan, arithmetic={**plan.arithmetic, **arithmetic}, rules={**plan.rules, **rules})
