"""What a user may choose about one target beside the scheme. Light to import; each target checks its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Packing = Literal["single-file", "multifunction", "ort"]
MinIOS = Literal[17, 18]


@dataclass(frozen=True)
class TargetOptions:
    """The defaults give a file, or a package, for each stage, and run on the most devices.

    Attributes:
        packing: how graphs become files. tflite: "single-file", one file with a signature for each stage. coreml:
            "multifunction", one package with a function for each. onnx: "ort", ORT format.
        min_ios: of coreml: oldest iOS that the packages run on, and the macOS of its year; None for 17.
        image_input: of coreml: the extractor takes an RGB image of 8 bits a channel, not a float32 tensor.
    """

    packing: Packing | None = None
    min_ios: MinIOS | None = None
    image_input: bool = False


DEFAULTS = TargetOptions()
