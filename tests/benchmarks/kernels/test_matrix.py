"""The kernel matrix: the shipped weights compute the same on every kind of processor, and a graph that does not fails.

Real kernels under qemu, from real packages; where those or qemu cannot be had, the tests are skipped and say why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from qlot.benchmarks.arm.environment import prepare
from qlot.benchmarks.arm.errors import ArmUnavailable
from qlot.benchmarks.arm.processors import PROCESSORS as ARM
from qlot.benchmarks.kernels.matrix import KERNELS, matrix
from qlot.benchmarks.kernels.x86 import PROCESSORS as X86
from qlot.benchmarks.kernels.x86 import emulator
from qlot.export.targets.onnx import int8
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Scheme, Target
from tests.benchmarks.kernels.shipped import write_shipped

pytestmark = pytest.mark.slow
SCHEMES: tuple[Scheme, ...] = ("fp32", "w8a8")
WEIGHTS = ("nano", "final")


def needs(target: Target, kernel: str) -> None:
    """Skip where the processor cannot be emulated here."""
    try:
        if kernel in X86:
            emulator()
        else:
            prepare(target)
    except ArmUnavailable as e:
        pytest.skip(str(e))


@pytest.fixture(scope="module")
def bundles_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Target], list[Bundle]]:
    made: dict[Target, list[Bundle]] = {}

    def bundles(target: Target) -> list[Bundle]:
        if target not in made:
            folder = tmp_path_factory.mktemp("kernels") / target
            made[target] = [
                Bundle.open(write_shipped(folder / f"{w}-{s}", w, target, s)) for w in WEIGHTS for s in SCHEMES
            ]
        return made[target]

    return bundles


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("target", [pytest.param(t, marks=pytest.mark.xdist_group(t)) for t in ("onnx", "tflite")])
def test_the_numbers_do_not_depend_on_the_processor(
    bundles_of: Callable[[Target], list[Bundle]], target: Target, kernel: str
) -> None:
    needs(target, kernel)
    if target == "tflite":
        pytest.importorskip("litert_torch", reason="needs the extra tflite")
    found = list(matrix(bundles_of(target), [kernel]))
    assert len(found) == len(WEIGHTS) * len(SCHEMES)
    for cell in found:  # shown by pytest -rP
        a = cell.agreement
        name = f"{target} {cell.bundle.path.name}"
        sys.stdout.write(f"{name:<18}{kernel:<8} first {a.first:.1e} median {a.median:.1e} largest {a.largest:.1e}\n")
    assert [c.bundle.path.name for c in found if not c.agreement.passed] == []


def test_weights_that_overflow_sixteen_bits_fail_without_vnni(tmp_path: Path) -> None:
    """The control: the graph that the quantiser makes by itself."""
    needs("onnx", "avx2")
    with patch.object(int8, "make_portable"):
        bundle = Bundle.open(write_shipped(tmp_path / "bundle", "nano", "onnx", "w8a8"))
    found = [cell.agreement for cell in matrix([bundle], ["avx2", "sse4"])]
    # If this machine cuts sums off itself, it is the other one that it disagrees with.
    assert [a for a in found if not a.passed and a.first > 0.5 and a.median > 0.1]


def test_every_kind_of_processor_is_named_once() -> None:
    assert len(set(KERNELS)) == len(KERNELS) == len(X86) + len(ARM)
