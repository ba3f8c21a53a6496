"""Bundles' replays on every emulated processor beside this machine's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qlot.benchmarks.arm.environment import prepare
from qlot.benchmarks.arm.errors import ArmError
from qlot.benchmarks.arm.processors import PROCESSORS as ARM
from qlot.benchmarks.arm.recording import OFF, Recording, record
from qlot.benchmarks.kernels.agreement import Agreement, agreement
from qlot.benchmarks.kernels.x86 import PROCESSORS as X86
from qlot.benchmarks.peers.environment import last_line
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Target
from qlot.runtime.errors import ParityError

RECORDING = "qlot.benchmarks.arm.recording"
KERNELS = (*X86, *ARM)
Run = Callable[[Sequence[str]], tuple[int, str]]


@dataclass(frozen=True)
class Cell:
    """One bundle on one kind of processor."""

    bundle: Bundle
    kernel: str
    agreement: Agreement


def matrix(bundles: Sequence[Bundle], kernels: Sequence[str], cache: Path | None = None) -> Iterator[Cell]:
    """Yield each bundle's agreement with this machine on each kind of processor.

    Args:
        bundles: with golden sequences, of targets onnx and tflite.
        kernels: of KERNELS.
        cache: folder of what the ARM emulation downloads; None for its default.

    Raises:
        ArmUnavailable: the emulator or what it needs cannot be had.
        ArmError: a bundle does not run, or the processor is not what it should be.
        ParityError: a bundle has no golden sequence.
    """
    hosts = [record(bundle) for bundle in bundles]
    for kernel in kernels:
        for target in sorted({b.manifest.target for b in bundles}):
            chosen = [(b, h) for b, h in zip(bundles, hosts, strict=True) if b.manifest.target == target]
            found = emulate([b for b, _ in chosen], kernel, target, cache)
            for (bundle, host), recording in zip(chosen, found, strict=True):
                golden = bundle.golden()
                assert golden is not None  # or record() had refused
                yield Cell(bundle, kernel, agreement(recording, host, golden))


def emulate(bundles: Sequence[Bundle], kernel: str, target: Target, cache: Path | None = None) -> list[Recording]:
    """Record replays of bundles of one target, in one emulated process: most of its time is spent on starting."""
    run, check = _runner(kernel, target, cache)
    with tempfile.TemporaryDirectory(prefix="qlot-kernels-") as folder:
        outs = [Path(folder) / f"{i}.npz" for i in range(len(bundles))]
        pairs = [part for b, out in zip(bundles, outs, strict=True) for part in (str(b.path.resolve()), str(out))]
        code, text = run(["-m", RECORDING, *pairs])
        if code:
            error = ParityError if code == OFF else ArmError
            raise error(f"{target} bundles do not replay on {kernel}: {last_line(text)}")
        found = [Recording.read(out) for out in outs]
    for recording in found:
        check(recording.features)
    return found


def _runner(kernel: str, target: Target, cache: Path | None) -> tuple[Run, Callable[[frozenset[str]], None]]:
    if kernel in X86:
        return X86[kernel].run, X86[kernel].check
    environment, processor = prepare(target, cache), ARM[kernel]
    return lambda arguments: environment.run(processor, arguments), processor.check
