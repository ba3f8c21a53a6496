"""One run on this machine, from bundles' folders to a result."""

from __future__ import annotations

import importlib.metadata
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from qlot.benchmarks.drivers.host.environment import environment
from qlot.benchmarks.drivers.host.measure import measure
from qlot.benchmarks.drivers.host.memory import peak, soak
from qlot.benchmarks.drivers.host.subjects import ENGINES, TimedBundle, TimedSubject
from qlot.benchmarks.drivers.host.sustained import sustained
from qlot.benchmarks.protocol.constants import protocol, protocol_sha256
from qlot.benchmarks.results.model import EnvironmentSpec, MemorySpec, RunResult, RunSpec, SubjectSpec
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.limits import printable
from qlot.runtime.errors import QlotError
from qlot.runtime.extras import DISTRIBUTION
from qlot.runtime.host import cores
from qlot.runtime.progress import Progress


@dataclass(frozen=True)
class HostRequest:
    """What the user asked for."""

    bundles: tuple[Path, ...]
    threads: tuple[int, ...] = (1,)
    iterations: tuple[int, ...] = field(default_factory=lambda: protocol().iterations)
    engine: str | None = None
    others: tuple[Callable[[], TimedSubject], ...] = ()  # made once the bundles have been replayed
    sustained: float | None = None  # seconds
    fps: float = 30.0
    soak: int | None = None  # frames
    seed: int | None = None
    quick: bool = False


def run(request: HostRequest, progress: Progress) -> RunResult:
    """Replay, load, warm up, measure.

    Raises:
        QlotError: a bundle cannot be used here, or does not replay: nothing is timed then.
    """
    names = _names(request)
    started, begin = datetime.now(UTC), time.perf_counter()
    before = environment(cores())
    subjects: list[TimedSubject] = []
    for name, (path, threads) in names.items():
        progress(f"replaying and loading {name}")
        subjects.append(TimedBundle(name, path, threads, request.iterations))
    subjects += [make() for make in request.others]
    constants = protocol()
    amount = constants.quick if request.quick else constants.measured
    seed = secrets.randbits(32) if request.seed is None else request.seed
    found = measure(subjects, amount if request.quick else constants.warm_up, amount, seed, progress)
    specs = [
        _finished(subject, request, progress).model_copy(update={"series": series})
        for subject, series in zip(subjects, found.series, strict=True)
    ]
    where = before.model_copy(update={"other_load": found.other_load})
    reasons = _reasons(request, where, subjects)
    return RunResult(
        format="qlot-bench",
        schema_version="1.0",
        run=RunSpec(
            id=secrets.token_hex(16),
            started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=time.perf_counter() - begin,
            driver=f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}",
            protocol=constants.version,
            protocol_sha256=protocol_sha256(),
            seed=seed,
            quick=request.quick,
            settings=found.settings,
            rounds=amount.rounds,
        ),
        environment=where,
        subjects=tuple(SubjectSpec.model_validate(spec.model_dump()) for spec in specs),
        valid=not reasons,
        reasons=tuple(reasons),
    )


def _finished(subject: TimedSubject, request: HostRequest, progress: Progress) -> SubjectSpec:
    """Say what a subject is, and do what is done with one at a time."""
    spec = subject.spec()
    if not isinstance(subject, TimedBundle):
        return spec
    k, constants = request.iterations[0], protocol()
    paced = None
    if request.sustained:
        args = (k, request.fps, request.sustained, constants.sustained, progress)
        paced = sustained(subject.frames(k), *args)
    grown = None
    if request.soak:
        grown = soak(subject.frames(k), constants.soak.model_copy(update={"frames": request.soak}), progress)
    return spec.model_copy(update={"sustained": paced, "memory": MemorySpec(peak=peak(), soak=grown)})


def _reasons(request: HostRequest, where: EnvironmentSpec, subjects: Sequence[TimedSubject]) -> list[str]:
    valid = protocol().valid
    reasons = ["a quick run, to see it work"] if request.quick else []
    if where.other_load is not None and where.other_load > valid.interrupted:
        reasons.append(f"others took {where.other_load:.0%} of the processors' time: measure on a quiet machine")
    if where.battery is not None and where.battery < valid.charge and not where.charging:
        reasons.append(f"the battery is at {where.battery:.0%}")
    return reasons + [text for subject in subjects for text in subject.complaints()]


def _names(request: HostRequest) -> dict[str, tuple[Path, int]]:
    """Name each bundle at each number of threads; of those that are alike in words, the folders tell them apart."""
    words = []
    for path in request.bundles:
        manifest = Bundle.open(path).manifest
        engine = ENGINES[manifest.target]
        if request.engine not in (None, engine):
            raise QlotError(f"{path} is for {manifest.target}, which {engine} runs here, not {request.engine}.")
        words.append(f"{manifest.model.preset} {manifest.layout.name} {manifest.target} {manifest.scheme.name}")
    named: dict[str, tuple[Path, int]] = {}
    for path, described in zip(request.bundles, words, strict=True):
        place = f" ({printable(path.resolve().name, 60)})" if words.count(described) > 1 else ""
        for threads in request.threads:
            name = described + place + (f", {threads} threads" if threads > 1 else "")
            same = sum(known.partition(" #")[0] == name for known in named)
            named[f"{name} #{same + 1}" if same else name] = (path, threads)
    return named
