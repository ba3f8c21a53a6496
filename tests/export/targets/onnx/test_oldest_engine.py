"""Exported graphs in the oldest ONNX Runtime that takes them, and bundles in the oldest one that our runtime takes.

The wheels are unpacked beside this Python's own; where the package index cannot be reached, the tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from qlot.benchmarks.arm.environment import built, default_cache
from qlot.benchmarks.arm.recording import record
from qlot.export.graphs.schemes import plan_for
from qlot.export.targets.onnx.convert import convert
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Scheme
from tests.export import small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the oldest wheels are for Python 3.11"),
]
GRAPHS = ("onnxruntime==1.17.3", "numpy==1.26.4")  # opset 18 at IR version 8; docs/bundle.md names it
RUNTIME = ("onnxruntime==1.20.0", "numpy==2.0.2")  # the lower bounds of pyproject.toml
PURE = ("flatbuffers", "protobuf", "packaging", "sympy", "mpmath", "coloredlogs", "humanfriendly")

SCRIPT = """
import sys, numpy as np, onnxruntime as ort
folder, version = sys.argv[1:]
assert ort.__version__ == version, ort.__version__
for name in ("extractor", "refiner"):
    session = ort.InferenceSession(f"{folder}/{name}.onnx", providers=["CPUExecutionProvider"])
    with np.load(f"{folder}/{name}.npz") as feeds:
        values = session.run(None, dict(feeds))
    np.savez(f"{folder}/{name}-found.npz", **{o.name: v for o, v in zip(session.get_outputs(), values)})
"""


def unpacked(pins: tuple[str, ...]) -> Path:
    """A folder with the wheels, downloaded once."""

    def fill(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", "--target"]
        done = subprocess.run([*command, str(folder), *pins, *PURE], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"the package index does not give {', '.join(pins)}: {done.stderr.strip().splitlines()[-1]}")

    return built(default_cache().parent / "-".join(p.replace("==", "-") for p in pins), fill)


def run_in(pins: tuple[str, ...], *arguments: str) -> None:
    environ = {**os.environ, "PYTHONPATH": str(unpacked(pins))}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("scheme", ["fp32", "fp16", "w8", "w8a8"])
def test_graphs_run_in_the_oldest_engine(tmp_path: Path, scheme: Scheme) -> None:
    wanted = {}
    for name in ("extractor", "refiner"):
        stage = small.stage("windowed", name)
        feeds = dict(small.recorded("windowed")[stage.name][2])
        data = convert(stage, plan_for("onnx", scheme), small.recorded("windowed")[stage.name]).data
        (tmp_path / f"{name}.onnx").write_bytes(data)
        np.savez(tmp_path / f"{name}.npz", **feeds)
        session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
        wanted[name] = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))
    run_in(GRAPHS, "-c", SCRIPT, str(tmp_path), GRAPHS[0].partition("==")[2])
    for name, values in wanted.items():
        with np.load(tmp_path / f"{name}-found.npz") as found:
            for key, value in values.items():
                # Maps that a doubled one goes into differ by an integer or two between versions: docs/bundle.md.
                near = 0.05 if scheme == "w8a8" and name == "extractor" else 1e-3 if scheme == "fp16" else 1e-4
                assert np.abs(found[key] - value).max() <= near * np.abs(value).max(), (name, key)


@pytest.mark.parametrize("scheme", ["fp32", "w8a8"])
def test_our_runtime_takes_the_oldest_engine_it_asks_for(tmp_path: Path, scheme: Scheme) -> None:
    plan, recorded = plan_for("onnx", scheme), small.recorded("windowed")
    graphs = {n: convert(small.stage("windowed", n), plan, recorded[n]) for n in ("extractor", "refiner")}
    folder = small.write_bundle(tmp_path / "bundle", graphs)
    run_in(RUNTIME, "-m", "qlot.benchmarks.arm.recording", str(folder), str(tmp_path / "out.npz"))
    with np.load(tmp_path / "out.npz") as found:
        assert str(found["engine"]) == "onnxruntime 1.20.0 CPU"
        off = np.abs(found["landmarks"] - record(Bundle.open(folder)).landmarks)[..., :2]
    assert off.max() <= (1.0 if scheme == "w8a8" else 1e-3)
