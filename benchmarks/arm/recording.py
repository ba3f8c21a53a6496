"""What a bundle's graphs answer to its golden sequence, recorded by the same code on the host and under emulation.

`python -m qlot.benchmarks.arm.recording BUNDLE OUT [BUNDLE OUT ...]` is what the emulated
Python runs; it has the engine, numpy and
pydantic, and of this project `qlot.runtime` and this folder.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy._core._multiarray_umath import __cpu_features__  # by CPUID, like the engines
from numpy.typing import NDArray

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.errors import ParityError, QlotError
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.replay import check_unrolled, run_frames
from qlot.runtime.network.state import State

OFF, ERROR = 3, 2  # exit codes: the unrolled refiner strays from the single steps; any other error of ours
# Bits of the auxiliary vector's entries AT_HWCAP and AT_HWCAP2 (Linux, arch/arm64/include/uapi/asm/hwcap.h).
_AT_HWCAP, _AT_HWCAP2 = 16, 26
_HWCAPS = {
    "asimd": (_AT_HWCAP, 1), "fphp": (_AT_HWCAP, 9), "asimdhp": (_AT_HWCAP, 10), "asimddp": (_AT_HWCAP, 20),
    "sve": (_AT_HWCAP, 22), "i8mm": (_AT_HWCAP2, 13), "bf16": (_AT_HWCAP2, 14),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Recording:
    """A free run over a golden sequence of T frames with at most K steps.

    Attributes:
        landmarks: (T, K, N, 7) float32, the state after each step; zero beyond a frame's steps.
        hidden: (T, N, C) float32, after each frame's last step.
        engine: what ran the graphs.
        machine: architecture that it ran on, such as "aarch64".
        features: of that architecture's instructions, those that decide between kernels; on x86-64 by NumPy's names.
    """

    landmarks: NDArray[np.float32]
    hidden: NDArray[np.float32]
    engine: str
    machine: str
    features: frozenset[str]

    def states(self, golden: GoldenSequence) -> Iterator[list[State]]:
        """Yield the states after each step of every frame."""
        for landmarks, hidden, count in zip(self.landmarks, self.hidden, golden.steps, strict=True):
            yield [State(step[None], hidden[None]) for step in landmarks[:count]]

    def write(self, path: Path) -> None:
        """Write it as an .npz."""
        with path.open("wb") as file:
            np.savez(
                file, landmarks=self.landmarks, hidden=self.hidden, engine=self.engine, machine=self.machine,
                features=np.array(sorted(self.features), np.str_),
            )  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read what `write` wrote."""
        with np.load(path) as stored:
            features = frozenset(map(str, stored["features"]))
            return cls(stored["landmarks"], stored["hidden"], str(stored["engine"]), str(stored["machine"]), features)


def record(bundle: Bundle) -> Recording:
    """Run a bundle over its golden sequence on one thread, and its unrolled refiner on the frames it fits.

    Raises:
        ParityError: there is no golden sequence, or the unrolled refiner differs from the single steps.
        BundleError: a graph cannot be loaded or run.
    """
    golden, tolerance = bundle.golden(), bundle.manifest.golden.tolerance
    if golden is None or tolerance is None:
        raise ParityError(f"{bundle.path} has no golden sequence: export it without --no-golden.")
    stages, points = BundleNetwork(bundle), np.array(bundle.manifest.layout.points)
    landmarks, hidden = np.zeros_like(golden.landmarks), np.zeros_like(golden.hidden)
    for t, states in enumerate(run_frames(stages, golden, points)):
        landmarks[t, : len(states)] = [state.landmarks[0] for state in states]
        hidden[t] = states[-1].hidden[0]
    if stages.unrolled_steps:
        check_unrolled(stages, golden, points, tolerance.px)
    return Recording(landmarks, hidden, stages.engine, platform.machine(), _features())


def _features() -> frozenset[str]:
    if platform.machine() != "aarch64":
        return frozenset(name for name, present in __cpu_features__.items() if present)
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return frozenset(name for name, (entry, bit) in _HWCAPS.items() if getauxval(entry) >> bit & 1)


def main(*paths: str) -> int:
    """Record bundles, each path of one followed by the file for it; return the exit code."""
    try:
        for bundle, out in zip(paths[::2], paths[1::2], strict=True):
            record(Bundle.open(bundle)).write(Path(out))
    except QlotError as e:
        print(e, file=sys.stderr)
        return OFF if isinstance(e, ParityError) else ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
