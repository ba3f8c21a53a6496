"""Real ARM kernels under qemu: small networks replay, and a sequence that was altered does not.

The first run downloads what it needs; where that or qemu cannot be had, the tests are skipped and say why.
"""

from __future__ import annotations

import functools
import platform
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qlot.benchmarks.arm.__main__ import main
from qlot.benchmarks.arm.environment import prepare
from qlot.benchmarks.arm.errors import ArmError, ArmUnavailable
from qlot.benchmarks.arm.processors import PROCESSORS
from qlot.benchmarks.arm.replay import emulate
from qlot.export.graphs.schemes import plan_for
from qlot.export.targets import load_target
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import write_golden
from qlot.runtime.bundle.manifest import Lowering, Scheme, Target
from tests.export import small
from tests.runtime.bundles import rehash

pytestmark = pytest.mark.slow
LOWERINGS: dict[Target, Lowering] = {"onnx": "windowed", "tflite": "dense"}
SCHEME: Scheme = "w8a8"  # each processor has int8 kernels of its own


@functools.cache
def unavailable(target: Target) -> str | None:
    try:
        prepare(target)
    except ArmUnavailable as e:
        return str(e)
    return None


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Target], Path]:
    @functools.cache
    def made(target: Target) -> Path:
        if target == "tflite":
            pytest.importorskip("litert_torch", reason="needs the extra tflite")
        reason = unavailable(target)
        if reason:
            pytest.skip(reason)
        lowering, plan, converter = LOWERINGS[target], plan_for(target, SCHEME), load_target(target)
        graphs = {}
        for name in ("extractor", "refiner"):
            feeds = small.recorded(lowering)[name] if plan.calibrated else None
            graphs[name] = converter.convert(small.stage(lowering, name), plan, feeds)
        folder = tmp_path_factory.mktemp("arm") / target
        tolerance = plan.tolerance.model_copy(update={"px": 3.0})  # the plan's is for trained networks
        return small.write_bundle(folder, graphs, tolerance=tolerance, target=target)

    return made


@pytest.mark.parametrize("target", LOWERINGS)
def test_a_bundle_replays_on_every_processor(
    bundle_of: Callable[[Target], Path], target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(bundle_of(target))])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("aarch64, ")] == list(PROCESSORS)
    assert lines[-1] == "numerics only: emulated, no timing"


def test_an_altered_sequence_fails(
    bundle_of: Callable[[Target], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(bundle_of("onnx"), tmp_path / "bundle")
    bundle = Bundle.open(folder)
    golden, tolerance = bundle.golden(), bundle.manifest.golden.tolerance
    assert golden is not None and tolerance is not None
    landmarks = golden.landmarks.copy()
    landmarks[2, 0, 1, 0] += 2 * tolerance.px  # one landmark in one frame
    shutil.rmtree(folder / "golden")
    write_golden(folder, replace(golden, landmarks=landmarks))
    rehash(folder)
    with pytest.raises(SystemExit) as stop:
        main([str(folder), "--cpu", "neon"])
    found = capsys.readouterr()
    assert stop.value.code == 1 and "1 of 1 bundles leave their tolerance" in found.err
    assert [line.split()[0] for line in found.out.splitlines() if "BEYOND" in line] == [
        f"{platform.machine()},",
        "aarch64,",
    ]


def test_a_processor_that_qemu_does_not_know_is_its_error(bundle_of: Callable[[Target], Path]) -> None:
    bundle = Bundle.open(bundle_of("onnx"))
    with pytest.raises(ArmError, match=r"does not run on qemu's cortex-x99: .*cortex-x99"):
        emulate(bundle, replace(PROCESSORS["neon"], model="cortex-x99"), prepare("onnx"))


def test_a_processor_with_other_instructions_is_refused(bundle_of: Callable[[Target], Path]) -> None:
    bundle = Bundle.open(bundle_of("onnx"))
    with pytest.raises(ArmError, match="wrong about asimddp"):
        emulate(bundle, replace(PROCESSORS["neon"], has=frozenset({"asimddp"})), prepare("onnx"))
