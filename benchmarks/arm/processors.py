"""The processors that are emulated: one for each set of instructions that the engines choose their kernels by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qlot.benchmarks.arm.errors import ArmError


@dataclass(frozen=True)
class Processor:
    """What qemu is told, and what the engines see of it.

    Attributes:
        model: value of qemu's -cpu.
        implementer, variant, part, revision: fields of the identification register MIDR_EL1, as Linux prints them.
        has: instructions beyond Armv8.0 that it must report, by the names of Linux's hwcaps.
        lacks: instructions that it must not report.
    """

    model: str
    implementer: int
    variant: int
    part: int
    revision: int
    has: frozenset[str]
    lacks: frozenset[str]

    def check(self, found: frozenset[str]) -> None:
        """Raise ArmError unless the emulated processor reports what it should: its kernels would be others."""
        wrong = sorted((self.has - found) | (self.lacks & found))
        if wrong:
            raise ArmError(
                f"qemu's {self.model} reports {', '.join(sorted(found))}: wrong about {', '.join(wrong)}. Use "
                "another version of qemu."
            )

    def write_files(self, root: Path) -> None:
        """Write the files by which Linux describes its processors, for one core of this kind, below `root`.

        Both engines read them through the library cpuinfo, which crashes on the x86 host's files that qemu 7 passes on.
        """
        cpu = root / "sys/devices/system/cpu"
        cpu.mkdir(parents=True)
        for name in ("possible", "present", "online", "kernel_max"):
            (cpu / name).write_text("0\n", encoding="ascii")
        fields = {
            "processor": "0",
            "CPU implementer": f"{self.implementer:#04x}",
            "CPU architecture": "8",
            "CPU variant": f"{self.variant:#x}",
            "CPU part": f"{self.part:#05x}",
            "CPU revision": f"{self.revision}",
        }
        (root / "proc").mkdir()
        text = "".join(f"{key}\t: {value}\n" for key, value in fields.items())
        (root / "proc" / "cpuinfo").write_text(f"{text}\n", encoding="ascii")


_DOT = frozenset({"asimddp"})
_HALF = frozenset({"fphp", "asimdhp"})
_MATRIX = frozenset({"i8mm", "bf16"})
_SCALABLE = frozenset({"sve"})

PROCESSORS: dict[str, Processor] = {
    # Armv8.0: no int8 dot product, no float16 arithmetic.
    "neon": Processor("cortex-a53", 0x41, 0, 0xD03, 4, frozenset(), _DOT | _HALF | _MATRIX | _SCALABLE),
    # Armv8.2 with both.
    "dotprod": Processor("cortex-a76", 0x41, 4, 0xD0B, 1, _DOT | _HALF, _MATRIX | _SCALABLE),
    # int8 matrix products besides. qemu 7 models no core that has them: all that it has, less SVE and SME, which few
    # phones have.
    "i8mm": Processor("max,sve=off,sme=off", 0, 0, 0x051, 0, _DOT | _HALF | _MATRIX, _SCALABLE),
}
