"""Staged bundles against the single graph: what is run, that it computes the same, and what is concluded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qlot.benchmarks.naive import load_naive
from qlot.benchmarks.protocol import Protocol, Rounds, fit_line, measure
from qlot.export.errors import ExportError
from qlot.export.pipeline import ExportRequest, export
from qlot.model.checkpoint import load_checkpoint
from qlot.model.layout import load_layout
from qlot.runtime.bundle import Bundle
from qlot.runtime.manifest import Lowering
from qlot.runtime.recurrence import Gate, steps
from qlot.runtime.result import CropBox, FloatArray
from qlot.runtime.sessions.base import Session
from qlot.runtime.stages import BundleStages
from qlot.runtime.state import State, move_crop

LAYOUT = "wflw98"
COUNTS = (1, 2, 4, 8)  # iterations K
UNROLLED = 4
LOWERINGS: tuple[Lowering, ...] = ("windowed", "dense")
NAIVE = "single graph"
SAME_PX = 2e-3  # variants that disagree by more are not compared
Call = Callable[[], State]
Key = tuple[str, int]  # what is run, K


@dataclass(frozen=True, eq=False)
class Fit:
    """ms = a + b K in each round."""

    a: Rounds
    b: Rounds


@dataclass(frozen=True, eq=False)
class Bound:
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
    """Block times in ms by variant, from one process and one engine."""

    engine: str
    size: int
    times: dict[Key, Rounds]

    def ratio(self, key: Key) -> Rounds:
        """Return the time of a variant over that of the single graph with as many steps inside."""
        return self.times[key] / self.times[NAIVE, key[1]]

    def fit(self, name: str) -> Fit:
        """Fit a variant's time over K."""
        return Fit(*fit_line(COUNTS, [self.times[name, k] for k in COUNTS]))

    def bounds(self, name: str) -> tuple[Bound, ...]:
        """Return what a staged variant is held to."""
        b, naive_b = self.fit(name).b, self.fit(NAIVE).b
        return (
            Bound("frame, K = 1 / single graph", 0.8, self.ratio((name, 1))),
            Bound("iteration / one more call of the single graph", 0.2, b / self.times[NAIVE, 1]),
            Bound("iteration / iteration unrolled inside the single graph", 0.9, b / naive_b),
        )


def compare(checkpoint: Path, protocol: Protocol, folder: Path, progress: Callable[[str], None]) -> Comparison:
    """Export everything into `folder`, check that all variants agree, and time them on one thread.

    Raises:
        ExportError: a bundle cannot be exported, or two variants compute different landmarks.
    """
    bundles = {}
    for lowering in LOWERINGS:
        progress(f"exporting the {lowering} bundle")
        request = ExportRequest("onnx", checkpoint=str(checkpoint), layout=LAYOUT, lowering=lowering)
        request = replace(request, unrolled=UNROLLED, out=folder / lowering)
        bundles[lowering] = export(request).bundle
    image, state = _tracked_frame(bundles["windowed"])
    calls: dict[Key, Call] = {}
    model, layout = load_checkpoint(checkpoint), load_layout(LAYOUT)
    for k in COUNTS:
        progress(f"exporting the single graph, K = {k}")
        calls[NAIVE, k] = _naive(load_naive(model, layout, k), image, state)
    engines = set()
    for lowering, bundle in bundles.items():
        stages = BundleStages(bundle)
        engines.add(stages.engine)
        calls |= {(lowering, k): _staged(stages, image, state, k) for k in COUNTS}
        calls[f"{lowering}, unrolled", UNROLLED] = _unrolled(stages, image, state)
    _check_same(calls)
    progress("measuring")
    named = measure({f"{name}/{k}": call for (name, k), call in calls.items()}, protocol)
    times = dict(zip(calls, named.values(), strict=True))
    return Comparison(", ".join(sorted(engines)), model.config.image_size, times)


def _tracked_frame(bundle: Bundle) -> tuple[FloatArray, State]:
    """Return the last crop of the golden sequence and the state in which it is met: a real face, tracked."""
    golden = bundle.golden()
    assert golden is not None  # exported above, with it
    image = np.ascontiguousarray(golden.crops[-1:].transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    state = State(golden.landmarks[-2, golden.steps[-2] - 1][None], golden.hidden[-2:-1])
    old, new = (CropBox(*map(float, box)) for box in golden.boxes[-2:])
    return image, move_crop(state, old, new, bundle.manifest.preprocessing.size)


def _staged(stages: BundleStages, image: FloatArray, state: State, count: int) -> Call:
    def call() -> State:
        *_, last = steps(stages, stages.extract(image), state, count, Gate())
        return last

    return call


def _unrolled(stages: BundleStages, image: FloatArray, state: State) -> Call:
    return lambda: stages.refine_unrolled(stages.extract(image), state, Gate())


def _naive(session: Session, image: FloatArray, state: State) -> Call:
    def call() -> State:
        out = session.run({"image": image, "landmarks": state.landmarks, "hidden": state.hidden})
        return State(out["landmarks_out"], out["hidden_out"])

    return call


def _check_same(calls: dict[Key, Call]) -> None:
    for (name, k), call in calls.items():
        off = float(np.abs(call().landmarks - calls[NAIVE, k]().landmarks)[..., :2].max())
        if not off <= SAME_PX:
            raise ExportError(f"{name}, K = {k}, is {off:.2g} px off the single graph: they cannot be compared.")
