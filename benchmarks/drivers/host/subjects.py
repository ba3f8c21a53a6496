"""What is measured, each in one form: settings, and blocks of frames at one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from qlot.benchmarks.drivers.host.environment import NO_ENERGY
from qlot.benchmarks.drivers.host.frames import endless
from qlot.benchmarks.peers.bare import BARE, bare_stages
from qlot.benchmarks.results.model import BundleSpec, LoadSpec, Part, PlacementSpec, ReplaySpec, SubjectSpec
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import IterationSpec, StageName
from qlot.runtime.errors import BundleError
from qlot.runtime.media.video import Image
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.pixels import network_input
from qlot.runtime.network.replay import compare, run_frames
from qlot.runtime.tracking.result import Status
from qlot.runtime.tracking.tracker import Tracker

What = Literal["frame", "network"]
Samples = dict[Part, list[float]]  # milliseconds
ENGINES = {"onnx": "onnxruntime", "tflite": "litert", "coreml": "mil"}  # target -> what runs it on a host
INTERPRETED = "coreml"  # qlot.mil, which computes what Core ML does and is no measure of its speed


class Setting(NamedTuple):
    """What a block runs."""

    what: What
    iterations: int


class TimedSubject(Protocol):
    """Something that can be measured, loaded."""

    name: str
    threads: int

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Its settings."""

    def block(self, setting: Setting, frames: int) -> Samples:
        """Run some frames; return the time of each part of each."""

    def spec(self) -> SubjectSpec:
        """Say what it is, without a series."""

    def complaints(self) -> list[str]:
        """Say what went wrong that makes its times worthless."""


class TimedBundle:
    """A bundle in the Python runtime: replayed, then loaded anew.

    Args:
        name: unique in the run.
        path: the bundle's folder.
        threads: of its engine.
        iterations: K of its settings.

    Raises:
        BundleError: it cannot be opened, or it has no golden sequence.
        ParityError: the replay leaves its tolerance: nothing is timed.
    """

    def __init__(self, name: str, path: Path, threads: int, iterations: tuple[int, ...]) -> None:
        self.name, self.threads, self._iterations = name, threads, iterations
        bundle = Bundle.open(path)
        self._replay = _replayed(bundle, threads)
        start = time.perf_counter()
        self.bundle = Bundle.open(path)
        self._stages = BundleNetwork(self.bundle, threads)
        opened = time.perf_counter()
        self._runs = {k: _Run(self.bundle, self._stages, k) for k in iterations}
        first = self._runs[iterations[0]].frame()
        self._load = LoadSpec(open_ms=1e3 * (opened - start), first_ms=first["frame"])
        self._bare = _bare(self.bundle, threads)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Whole frames, and the graphs alone, for each K."""
        kinds: tuple[What, ...] = ("frame", "network") if self._bare else ("frame",)
        return tuple(Setting(what, k) for what in kinds for k in self._iterations)

    def block(self, setting: Setting, frames: int) -> Samples:
        """Run frames through the tracker, or the graphs alone on one crop and state."""
        bare = self._bare
        one = (lambda: bare(setting.iterations)) if setting.what == "network" and bare else None
        one = one or self._runs[setting.iterations].frame
        found = Samples()
        for _ in range(frames):
            for part, value in one().items():
                found.setdefault(part, []).append(value)
        return found

    def frames(self, iterations: int) -> Iterator[float]:
        """Yield the milliseconds of frame after frame, for ever."""
        run = self._runs[iterations]
        while True:
            yield run.frame()["frame"]

    def spec(self) -> SubjectSpec:
        """Say which bundle it is, and how it was replayed and loaded."""
        manifest = self.bundle.manifest
        files = {f.path: f.bytes for f in manifest.files}
        size = sum(b for path, b in files.items() if any(stage.holds(path) for stage in manifest.stages.values()))
        return SubjectSpec(
            name=self.name,
            kind="bundle",
            bundle=BundleSpec(
                manifest_sha256=self.bundle.manifest_sha256,
                checkpoint_sha256=manifest.model.checkpoint_sha256,
                preset=manifest.model.preset,
                target=manifest.target,
                scheme=manifest.scheme.name,
                lowering=manifest.lowering,
                layout=manifest.layout.name,
                landmarks=len(manifest.layout.points),
                size=manifest.preprocessing.size,
                steps=manifest.iterations.tracking,
                bytes=size,
                macs={name: stage.macs for name, stage in manifest.stages.items()},
            ),
            engine=self._stages.engine,
            threads=self.threads,
            placement=_placement(self.bundle),
            replay=self._replay,
            load=self._load,
            series=(),
            energy=NO_ENERGY,
        )

    def complaints(self) -> list[str]:
        """Name lost frames, and an engine that is no measure."""
        lost = {k: run.lost for k, run in self._runs.items() if run.lost}
        found = [f"{self.name}: the face was lost in {count} frames at K = {k}" for k, count in lost.items()]
        if self.bundle.manifest.target == INTERPRETED:
            found.append(f"{self.name}: run by an interpreter of Core ML programs: no measure of their speed")
        return found


class TimedCall:
    """One call, timed as it is: a peer's network, a yardstick.

    Args:
        name: unique in the run.
        kind: what it is.
        engine: what runs it, with its version.
        calls: what is timed, by the steps inside; 0 for what has none.
        operations: multiply-accumulates of one call, where they are known.
    """

    threads = 1

    def __init__(
        self,
        name: str,
        kind: Literal["peer", "yardstick"],
        engine: str,
        calls: Mapping[int, Callable[[], object]],
        operations: int | None = None,
    ) -> None:
        self.name, self._kind, self._engine, self._calls, self._operations = name, kind, engine, calls, operations

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The network alone, for each number of steps."""
        return tuple(Setting("network", k) for k in self._calls)

    def block(self, setting: Setting, frames: int) -> Samples:
        """Time calls."""
        call = self._calls[setting.iterations]
        return {"network": [_timed(call) for _ in range(frames)]}

    def spec(self) -> SubjectSpec:
        """Say what it is."""
        return SubjectSpec(
            name=self.name,
            kind=self._kind,
            bundle=None,
            engine=self._engine,
            threads=self.threads,
            replay=None,
            load=None,
            series=(),
            operations=self._operations,
            energy=NO_ENERGY,
        )

    def complaints(self) -> list[str]:
        """Nothing can go wrong that its call does not raise."""
        return []


@dataclass
class _Run:
    """A tracker at K steps a frame, on its way through the clip."""

    bundle: Bundle
    stages: BundleNetwork
    iterations: int
    lost: int = 0
    _frames: Iterator[tuple[Image, float]] = field(default_factory=endless)

    def __post_init__(self) -> None:
        cold = self.bundle.manifest.iterations.cold
        steps = IterationSpec(cold=cold, tracking=self.iterations)
        self._tracker = Tracker(self.bundle, self.stages, iterations=steps, offline=True)
        self._count = 0

    def frame(self) -> dict[Part, float]:
        picture, moment = next(self._frames)
        start = time.perf_counter()
        result = self._tracker.update(picture, moment)
        total = 1e3 * (time.perf_counter() - start)
        self._count += 1
        self.lost += self._count > 1 and result.status is not Status.TRACKING
        parts = result.milliseconds
        known = parts["crop"] + parts["extractor"] + parts["refiner"]
        return {
            "frame": total,
            "preprocess": parts["crop"],
            "extractor": parts["extractor"],
            "refiner": parts["refiner"],
            "postprocess": max(total - known, 0.0),
        }


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _replayed(bundle: Bundle, threads: int) -> ReplaySpec:
    manifest = bundle.manifest
    golden, tolerance = bundle.golden(), manifest.golden.tolerance
    if golden is None or tolerance is None:
        raise BundleError(
            f"{bundle.path}: exported with --no-golden, so nobody can say whether what would be timed is right. Export "
            "it again without that."
        )
    stages = BundleNetwork(bundle, threads)
    points = np.array(manifest.layout.points)
    report = compare(run_frames(stages, golden, points), golden, manifest.layout.names, tolerance, stages.engine)
    report.check()
    return ReplaySpec(
        frames=len(golden.steps),
        max_px=report.max_result_px,
        max_log_sigma=report.sigma,
        tolerance_px=tolerance.px,
        tolerance_log_sigma=tolerance.log_sigma,
    )


def _placement(bundle: Bundle) -> dict[StageName, PlacementSpec]:
    """Say where stages run; a delegate's count is what the engine reported when the bundle was made."""
    found: dict[StageName, PlacementSpec] = {}
    for name, stage in bundle.manifest.stages.items():
        split, nodes = stage.delegation, sum(stage.ops.values())
        outside = sum(split.outside.values()) if split else None
        found[name] = PlacementSpec(
            asked="cpu",
            used=split.delegate if split else "cpu",
            delegated=None if outside is None else max(nodes - outside, 0),
            nodes=nodes,
        )
    return found


def _bare(bundle: Bundle, threads: int) -> Callable[[int], dict[Part, float]] | None:
    """Return a call of the graphs alone, K steps on one crop, as an app pays for it; None where engines differ."""
    stages = bundle.manifest.stages.values()
    if threads != 1 or bundle.manifest.target not in BARE or any(stage.function for stage in stages):
        return None
    golden = bundle.golden()
    assert golden is not None  # replayed before
    image, state = network_input(golden.crops[-1]), golden.last_state
    extract, refine = bare_stages(bundle)

    def call(steps: int) -> dict[Part, float]:
        start = time.perf_counter()
        features = {**extract({"image": image}), **state}
        extracted = time.perf_counter()
        for _ in range(steps):
            refine(features)
        end = time.perf_counter()
        return {
            "network": 1e3 * (end - start),
            "network extractor": 1e3 * (extracted - start),
            "network refiner": 1e3 * (end - extracted),
        }

    return call
