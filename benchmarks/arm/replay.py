"""A bundle's replay on emulated processors beside the same replay on this machine."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from qlot.benchmarks.arm.environment import Environment
from qlot.benchmarks.arm.errors import ArmError
from qlot.benchmarks.arm.processors import Processor
from qlot.benchmarks.arm.recording import OFF, Recording
from qlot.benchmarks.peers.environment import last_line
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import ParityError
from qlot.runtime.network.replay import ReplayReport, compare

RECORDING = "qlot.benchmarks.arm.recording"


@dataclass(frozen=True, eq=False)
class ArmReport:
    """A replay's errors against the golden sequence, and its distance from the host's replay.

    Attributes:
        golden: against float32 PyTorch, as the bundle holds it.
        host: against the same graphs on this machine; its tolerance is the bundle's and means nothing here.
    """

    golden: ReplayReport
    host: ReplayReport


def emulate(bundle: Bundle, processor: Processor, environment: Environment) -> Recording:
    """Record a bundle's replay on an emulated processor.

    Raises:
        ParityError: the unrolled refiner differs from the single steps.
        ArmError: it cannot be run, or the processor is not what it should be.
    """
    with tempfile.TemporaryDirectory(prefix="qlot-arm-") as folder:
        out = Path(folder) / "recording.npz"
        code, text = environment.run(processor, ["-m", RECORDING, str(bundle.path.resolve()), str(out)])
        if code == OFF:
            raise ParityError(f"{bundle.path} on qemu's {processor.model}: {last_line(text)}")
        if code:
            raise ArmError(f"{bundle.path} does not run on qemu's {processor.model}: {last_line(text)}")
        recording = Recording.read(out)
    if recording.machine != "aarch64":
        raise ArmError(f"{environment.qemu} ran {recording.machine} code, wanted aarch64")
    processor.check(recording.features)
    return recording


def judge(bundle: Bundle, recording: Recording, host: Recording) -> ArmReport:
    """Measure a recording against the golden sequence and against the host's recording.

    Raises:
        ArmError: they come from two engines, or one of them without its delegate.
        ParityError: the bundle has no golden sequence.
    """
    if recording.engine != host.engine:
        raise ArmError(f"{bundle.path} ran in {recording.engine} on {recording.machine}, in {host.engine} here")
    golden, tolerance = bundle.golden(), bundle.manifest.golden.tolerance
    if golden is None or tolerance is None:
        raise ParityError(f"{bundle.path} has no golden sequence: export it without --no-golden.")
    names = bundle.manifest.layout.names
    reference = replace(golden, landmarks=host.landmarks, hidden=host.hidden)
    return ArmReport(
        compare(recording.states(golden), golden, names, tolerance, recording.engine),
        compare(recording.states(golden), reference, names, tolerance, recording.engine),
    )
