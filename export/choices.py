"""What the command line offers, word by word, and what each word stands for. Light to import."""

from __future__ import annotations

import importlib.util
from enum import StrEnum
from pathlib import Path

from qlot.export.options import MinIOS, Packing
from qlot.runtime.bundle.manifest import Lowering, Target


class TargetName(StrEnum):
    """Targets of an export."""

    ONNX = "onnx"
    TFLITE = "tflite"
    COREML = "coreml"
    ALL = "all"


TARGETS: dict[TargetName, tuple[Target, ...]] = {
    TargetName.ONNX: ("onnx",),
    TargetName.TFLITE: ("tflite",),
    TargetName.COREML: ("coreml",),
    TargetName.ALL: ("onnx", "tflite", "coreml"),
}


class LoweringName(StrEnum):
    """How correlation and lookup are computed."""

    AUTO = "auto"
    DENSE = "dense"
    WINDOWED = "windowed"


LOWERINGS: dict[LoweringName, Lowering | None] = {
    LoweringName.AUTO: None,
    LoweringName.DENSE: "dense",
    LoweringName.WINDOWED: "windowed",
}


class SchemeName(StrEnum):
    """Storage and arithmetic."""

    FP32 = "fp32"
    FP16 = "fp16"
    W8 = "w8"
    W8A8 = "w8a8"
    PALETTE6 = "palette6"
    PALETTE4 = "palette4"
    W4 = "w4"


class MinIOSName(StrEnum):
    """Oldest iOS of Core ML packages."""

    IOS17 = "17"
    IOS18 = "18"


MIN_IOS: dict[MinIOSName | None, MinIOS] = {MinIOSName.IOS17: 17, MinIOSName.IOS18: 18}


class PackingName(StrEnum):
    """How graphs become files, where that is not one for each stage."""

    SINGLE_FILE = "single-file"
    MULTIFUNCTION = "multifunction"
    ORT = "ort"


PACKINGS: dict[PackingName | None, Packing] = {
    PackingName.SINGLE_FILE: "single-file",
    PackingName.MULTIFUNCTION: "multifunction",
    PackingName.ORT: "ort",
}


def layout_names(incomplete: str) -> list[str]:
    """Complete the name of a shipped layout; without the model room, whose import takes seconds."""
    return _stems("layouts", ".json", incomplete)


def checkpoint_names(incomplete: str) -> list[str]:
    """Complete the name of shipped weights, likewise."""
    return _stems("weights", ".safetensors", incomplete)


def _stems(folder: str, suffix: str, start: str) -> list[str]:
    found = importlib.util.find_spec("qlot.model")
    places = found.submodule_search_locations if found else None
    names = (p.stem for place in places or () for p in Path(place, folder).glob(f"*{suffix}"))
    return sorted(n for n in names if n.startswith(start))
