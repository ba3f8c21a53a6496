"""Where a packed bundle lies in an app, and what the app needs to run it. Data, as `qlot pack` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qlot.runtime.bundle.manifest import Target

PlatformName = Literal["android", "swift", "web"]


@dataclass(frozen=True)
class Platform:
    """One way to ship a bundle.

    Attributes:
        folder: where bundles lie, relative to what is written.
        refused: targets that do not run there, and why.
        words: of the README, by target: how the app gets at it. NAME stands for the bundle's.
    """

    folder: str
    refused: dict[Target, str]
    words: dict[Target, str]


_APPLE_ALONE = "Core ML runs on Apple's systems alone: export with --target tflite or --target onnx"

_GRADLE = """\
In build.gradle.kts of the module (not run here):

    android {{
        androidResources {{ noCompress += listOf("onnx", "ort", "tflite", "bin") }}
    }}
    dependencies {{
        implementation("{coordinates}")
    }}

Copy src/ into the module. The bundle's files are then assets: context.assets.open("qlot/NAME/manifest.json").
"""

_SWIFT = """\
In Package.swift (not run here), with Resources/ copied into the target's folder:

    .target(name: "...", resources: [.copy("Resources/NAME")])

`.copy` keeps the folders as they are; `.process` does not. The bundle is then
Bundle.module.url(forResource: "NAME", withExtension: nil).
"""

_WEB = """\
Copy public/ into the site (not run here). The bundle is then fetched from qlot/NAME/manifest.json. Serve every file as
it is: a server that changes one breaks its hash.

    npm install {package}
"""

PLATFORMS: dict[PlatformName, Platform] = {
    "android": Platform(
        "src/main/assets/qlot",
        {"coreml": _APPLE_ALONE},
        {
            "onnx": _GRADLE.format(coordinates="com.microsoft.onnxruntime:onnxruntime-android:1.29.0"),
            "tflite": _GRADLE.format(coordinates="com.google.ai.edge.litert:litert:2.3.0"),
        },
    ),
    "swift": Platform(
        "Resources",
        {},
        {
            "onnx": _SWIFT + "\nEngine: ONNX Runtime 1.17 or newer for iOS.\n",
            "tflite": _SWIFT + "\nEngine: a LiteRT for iOS that has the operators `qlot inspect` lists.\n",
            "coreml": _SWIFT
            + "\nThe .mlpackage folders are whole, and not compiled: MLModel.compileModel(at:) does that on the\n"
            "device, once. Keep what it returns.\n",
        },
    ),
    "web": Platform(
        "public/qlot",
        {"coreml": _APPLE_ALONE},
        {
            "onnx": _WEB.format(package="onnxruntime-web@1.30.0"),
            "tflite": _WEB.format(package="@litertjs/core@2.5.3"),
        },
    ),
}
