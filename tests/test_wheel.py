"""What must be inside the wheel; CI builds it and says where it is."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

REQUIRED = (
    "qlot/assets/README.md",
    "qlot/assets/sample.mp4",
    "qlot/benchmarks/jitter/protocol.json",
    "qlot/cli/main.py",
    "qlot/export/lint/devices.toml",
    "qlot/export/targets/onnx/convert.py",
    "qlot/model/layouts/eyes.json",
    "qlot/model/layouts/ibug68.json",
    "qlot/model/layouts/mediapipe478.json",
    "qlot/model/layouts/synth70.json",
    "qlot/model/layouts/wflw98.json",
    "qlot/model/weights/MODEL_CARD.md",
    "qlot/model/weights/base.safetensors",
    "qlot/model/weights/nano.safetensors",
    "qlot/runtime/contract/README.md",
    "qlot/runtime/contract/crop.md",
    "qlot/runtime/contract/crop_vectors.json",
    "qlot/runtime/contract/manifest.schema.json",
    "qlot/runtime/contract/tracker.md",
    "qlot/runtime/network/sessions/onnx.py",
    "qlot/runtime/tracking/tracker.py",
    "qlot/training/recipes/nano-last.toml",
    "qlot/training/recipes/nano-tracking.toml",
    "qlot/training/recipes/nano.toml",
    "qlot/training/recipes/study.toml",
)


@pytest.fixture(scope="module")
def names() -> list[str]:
    wheel = os.environ.get("QLOT_WHEEL")
    if not wheel:
        pytest.skip("QLOT_WHEEL names no wheel; .ci/run builds one")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.parametrize("required", REQUIRED)
def test_the_wheel_holds(required: str, names: list[str]) -> None:
    assert required in names


def test_the_wheel_holds_every_module_and_nothing_else(names: list[str]) -> None:
    rooms = {"model": "model", "export": "export", "runtime": "runtime/python", "contract": "runtime/contract"}
    rooms |= {name: name for name in ("mil", "metrics", "training", "cli", "benchmarks", "assets")}
    root = Path(__file__).parents[1]
    wanted = set()
    for name, folder in rooms.items():
        prefix = "qlot/runtime/contract" if name == "contract" else f"qlot/{name}"
        wanted |= {f"{prefix}/{p.relative_to(root / folder).as_posix()}" for p in (root / folder).rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == wanted
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert any(n.endswith("licenses/NOTICE") for n in names)
    assert {n.split("/")[0] for n in names} == {"qlot", next(n for n in names if ".dist-info" in n).split("/")[0]}
