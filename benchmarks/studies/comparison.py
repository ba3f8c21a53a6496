"""Staged bundles against the single graph: what is run, that it computes the same, and what is concluded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qlot.benchmarks.protocol import Rounds, TimingProtocol, fit_line, measure
from qlot.benchmarks.studies.naive import load_naive
from qlot.export.errors import ExportError, TargetError
from qlot.export.pipeline import export
from qlot.export.request import ExportRequest
from qlot.export.targets import load_target
from qlot.model.checkpoint import load_checkpoint
from qlot.model.layout import load_layout
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Lowering, Scheme, Target
from qlot.runtime.geometry import CropBox, FloatArray
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.pixels import network_input
from qlot.runtime.network.recurrence import Gate, steps
from qlot.runtime.network.sessions.base import Session
from qlot.runtime.network.state import State, move_crop

LAYOUT = "wflw98"
COUNTS = (1, 2, 4, 8)  # iterations K
UNROLLED = 4
NAIVE = "single graph"
SAME_PX = 2e-3  # float variants that disagree by more are not compared; int8 has passed its export's parity check
TimedCall = Callable[[], State]
Key = tuple[str, int]  # what is run, K


@dataclass(frozen=True)
class Variant:
    """A staged bundle: what it is exported to."""

    name: str
    target: Target
    scheme: Scheme
    lowering: Lowering


STAGED = (
    Variant("onnx", "onnx", "fp32", "windowed"),
    Variant("onnx, dense", "onnx", "fp32", "dense"),
    Variant("onnx, w8a8", "onnx", "w8a8", "windowed"),
    Variant("tflite", "tflite", "fp32", "dense"),
    Variant("tflite, w8a8", "tflite", "w8a8", "dense"),
)


@dataclass(frozen=True, eq=False)
class CostLine:
    """ms = a + b K in each round."""

    a: Rounds
    b: Rounds


@dataclass(frozen=True, eq=False)
class CostBound:
    """An upper bound on a ratio, and the ratio in each round."""

    text: str
    limit: float
    found: Rounds

    @property
    def met(self) -> bool:
        """Whether the median over the rounds keeps to the limit."""
        return bool(np.median(self.found) <= self.limit)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Block times in ms by variant, from one process.

    Attributes:
        engines: what ran the graphs.
        size: side of the network input in pixels.
        times: by variant and K.
        left_out: variants that could not be exported here, and why.
    """

    engines: tuple[str, ...]
    size: int
    times: dict[Key, Rounds]
    left_out: dict[str, str]

    @property
    def staged(self) -> tuple[str, ...]:
        """Names of the bundles that were timed."""
        return tuple(v.name for v in STAGED if (v.name, 1) in self.times)

    def ratio(self, key: Key) -> Rounds:
        """Return the time of a variant over that of the single graph with as many steps inside."""
        return self.times[key] / self.times[NAIVE, key[1]]

    def fit(self, name: str) -> CostLine:
        """CostLine a variant's time over K."""
        return CostLine(*fit_line(COUNTS, [self.times[name, k] for k in COUNTS]))

    def bounds(self, name: str) -> tuple[CostBound, ...]:
        """Return what a staged variant is held to."""
        b, naive_b = self.fit(name).b, self.fit(NAIVE).b
        against_naive = (
            CostBound("frame, K = 1 / single graph", 0.8, self.ratio((name, 1))),
            CostBound("iteration / one more call of the single graph", 0.2, b / self.times[NAIVE, 1]),
            CostBound("iteration / iteration unrolled inside the single graph", 0.9, b / naive_b),
        )
        onnx = name.replace("tflite", "onnx")
        if onnx == name or onnx not in self.staged:
            return against_naive
        return (*against_naive, CostBound(f"iteration / iteration of {onnx}", 1.2, b / self.fit(onnx).b))


def compare(checkpoint: Path, protocol: TimingProtocol, folder: Path, progress: Callable[[str], None]) -> Comparison:
    """Export everything into `folder`, check that all variants agree, and time them on one thread.

    Raises:
        ExportError: a bundle cannot be exported, or two variants compute different landmarks.
    """
    bundles: dict[Variant, Bundle] = {}
    left_out: dict[str, str] = {}
    for variant in STAGED:
        try:
            load_target(variant.target)
        except TargetError as e:
            left_out[variant.name] = str(e)
            continue
        progress(f"exporting {variant.name}")
        request = ExportRequest(variant.target, variant.scheme, str(checkpoint), LAYOUT, lowering=variant.lowering)
        unrolled = UNROLLED if variant.scheme == "fp32" and variant.target == "onnx" else None
        bundles[variant] = export(replace(request, unrolled=unrolled, out=folder / f"{len(bundles)}")).bundle
    image, state = _tracked_frame(bundles[STAGED[0]])
    calls: dict[Key, TimedCall] = {}
    model, layout = load_checkpoint(checkpoint), load_layout(LAYOUT)
    for k in COUNTS:
        progress(f"exporting the single graph, K = {k}")
        calls[NAIVE, k] = _naive(load_naive(model, layout, k), image, state)
    engines = []
    for variant, bundle in bundles.items():
        stages = BundleNetwork(bundle)
        engines.append(stages.engine)
        calls |= {(variant.name, k): _staged(stages, image, state, k) for k in COUNTS}
        if "refiner_unrolled" in bundle.manifest.stages:
            calls[f"{variant.name}, unrolled", UNROLLED] = _unrolled(stages, image, state)
    int8 = {v.name for v in STAGED if v.scheme != "fp32"}
    _check_same({key: call for key, call in calls.items() if key[0] not in int8})
    progress("measuring")
    named = measure({f"{name}/{k}": call for (name, k), call in calls.items()}, protocol)
    times = dict(zip(calls, named.values(), strict=True))
    return Comparison(tuple(dict.fromkeys(engines)), model.config.image_size, times, left_out)


def _tracked_frame(bundle: Bundle) -> tuple[FloatArray, State]:
    """Return the last crop of the golden sequence and the state in which it is met: a real face, tracked."""
    golden = bundle.golden()
    assert golden is not None  # exported above, with it
    image = network_input(golden.crops[-1])
    state = State(golden.landmarks[-2, golden.steps[-2] - 1][None], golden.hidden[-2:-1])
    old, new = (CropBox(*map(float, box)) for box in golden.boxes[-2:])
    return image, move_crop(state, old, new, bundle.manifest.preprocessing.size)


def _staged(stages: BundleNetwork, image: FloatArray, state: State, count: int) -> TimedCall:
    def call() -> State:
        *_, last = steps(stages, stages.extract(image), state, count, Gate())
        return last

    return call


def _unrolled(stages: BundleNetwork, image: FloatArray, state: State) -> TimedCall:
    return lambda: stages.refine_unrolled(stages.extract(image), state, Gate())


def _naive(session: Session, image: FloatArray, state: State) -> TimedCall:
    def call() -> State:
        out = session.run({"image": image, "landmarks": state.landmarks, "hidden": state.hidden})
        return State(out["landmarks_out"], out["hidden_out"])

    return call


def _check_same(calls: dict[Key, TimedCall]) -> None:
    for (name, k), call in calls.items():
        off = float(np.abs(call().landmarks - calls[NAIVE, k]().landmarks)[..., :2].max())
        if not off <= SAME_PX:
            raise ExportError(f"{name}, K = {k}, is {off:.2g} px off the single graph: they cannot be compared.")
