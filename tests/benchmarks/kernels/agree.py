"""Whether the shipped weights compute the same on every kind of processor; a file of tests for each target asks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qlot.benchmarks.arm.environment import prepare
from qlot.benchmarks.arm.errors import ArmUnavailable
from qlot.benchmarks.kernels.matrix import matrix
from qlot.benchmarks.kernels.x86 import PROCESSORS as X86
from qlot.benchmarks.kernels.x86 import emulator
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Scheme, Target
from tests.benchmarks.kernels.shipped import write_shipped

SCHEMES: tuple[Scheme, ...] = ("fp32", "w8a8")
WEIGHTS = ("nano", "base")


def needs(target: Target, kernel: str) -> None:
    """Skip where the processor cannot be emulated here."""
    try:
        if kernel in X86:
            emulator()
        else:
            prepare(target)
    except ArmUnavailable as e:
        pytest.skip(str(e))


def write_all(folder: Path, target: Target) -> list[Bundle]:
    """Write a bundle of each of the shipped weights in each scheme."""
    return [Bundle.open(write_shipped(folder / f"{w}-{s}", w, target, s)) for w in WEIGHTS for s in SCHEMES]


def disagreeing(bundles: list[Bundle], kernel: str) -> list[str]:
    """Run the bundles, print what was found (pytest -rP shows it), and name those that disagree with this machine."""
    found = list(matrix(bundles, [kernel]))
    assert len(found) == len(bundles)
    for cell in found:
        a, name = cell.agreement, f"{cell.bundle.manifest.target} {cell.bundle.path.name}"
        sys.stdout.write(f"{name:<18}{kernel:<8} median {a.median:.1e} largest {a.largest:.1e}\n")
    return [c.bundle.path.name for c in found if not c.agreement.passed]
