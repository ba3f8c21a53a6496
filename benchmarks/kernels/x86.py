"""Older x86-64 processors under qemu-user: this very Python and its engines, told by CPUID that they have less.

Engines choose their kernels by what CPUID says, so these are the kernels that such a machine runs.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qlot.benchmarks.arm.errors import ArmError, ArmUnavailable

EMULATORS = ("qemu-x86_64-static", "qemu-x86_64")


@dataclass(frozen=True)
class X86Processor:
    """What qemu is told, and what the engines must see of it.

    Attributes:
        model: value of qemu's -cpu.
        has: instructions that it must report, by NumPy's names.
        lacks: instructions that it must not report.
    """

    model: str
    has: frozenset[str]
    lacks: frozenset[str]

    def check(self, found: frozenset[str]) -> None:
        """Raise ArmError unless the emulated processor reports what it should: its kernels would be others."""
        wrong = sorted((self.has - found) | (self.lacks & found))
        if wrong:
            raise ArmError(f"qemu's {self.model} is wrong about {', '.join(wrong)}. Use another version of qemu.")

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run this Python on the processor; return its exit code and what it wrote to standard error."""
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [str(emulator()), "-cpu", self.model, sys.executable, *arguments],
            capture_output=True, text=True, check=False, env=environ,
        )  # fmt: skip
        return done.returncode, done.stderr


PROCESSORS: dict[str, X86Processor] = {
    # No AVX: sums of int8 products in other widths, float sums in another order, no fused multiply-add.
    "sse4": X86Processor("Nehalem", frozenset({"SSE42"}), frozenset({"AVX", "AVX2", "AVX512F"})),
    # AVX2 and fused multiply-add, but no VNNI: int8 products are summed in 16 bits.
    "avx2": X86Processor("Haswell-noTSX", frozenset({"AVX2", "FMA3"}), frozenset({"AVX512F"})),
}


def emulator() -> Path:
    """Find qemu.

    Raises:
        ArmUnavailable: it is not installed, or this machine is no x86-64.
    """
    if platform.machine() != "x86_64":
        raise ArmUnavailable(f"x86-64 kernels run from x86-64 packages: this machine is {platform.machine()}.")
    for name in EMULATORS:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise ArmUnavailable("qemu is not installed: on Debian, apt-get install --no-install-recommends qemu-user-static")
