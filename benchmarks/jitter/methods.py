"""The methods: a QLOT bundle steady, raw and gated, filters on its raw output, a peer with and without a filter."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from qlot.benchmarks.jitter.clips import RenderedClip
from qlot.benchmarks.jitter.points import PointSet
from qlot.benchmarks.jitter.protocol import JitterProtocol
from qlot.runtime.bundle.manifest import IterationSpec, SteadySpec, TrackerSpec
from qlot.runtime.bundle.stated_confidence import ANY_FACE
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.recurrence import Gate, Network
from qlot.runtime.tracking.crop import crop_of, fit_crop
from qlot.runtime.tracking.filters import LandmarkFilter, Rule
from qlot.runtime.tracking.steady import Steady
from qlot.runtime.tracking.tracker import Tracker
from qlot.training.data.clip import Array

QLOT: Final = "QLOT"
RAW: Final = "QLOT raw"  # what the network says
NO_GATE = Gate()


@dataclass(frozen=True)
class Method:
    """What produces landmarks: a tracker, a gate inside it, a filter behind it."""

    label: str
    family: str  # settings of one kind, drawn as one line
    tracker: str  # QLOT or the peer
    gate: Gate = NO_GATE
    rule: Rule | None = None
    weighted: bool = False  # the filter is told the predicted covariances


@dataclass(frozen=True, eq=False)
class ClipAnswers:
    """A tracker's answers on a clip; NaN where it lost the face."""

    positions: Array  # (T, C, 2) pixels of the frame
    covariances: Array | None = None  # (T, C, 2, 2) pixels squared
    milliseconds: Array | None = None  # (T,) of each frame, all of it


def methods(protocol: JitterProtocol, steady: SteadySpec, peers: Sequence[str]) -> Iterator[Method]:
    """List what is compared.

    Args:
        protocol: the settings.
        steady: the bundle's own.
        peers: names of the trackers that are compared.
    """
    settings = protocol.methods
    if steady.unit:
        yield Method("QLOT", "QLOT", QLOT, rule=Steady(steady), weighted=True)
        for unit in settings.steady:
            rule = Steady(steady.model_copy(update={"unit": unit}))
            yield Method(f"QLOT, steady {unit:g}", "QLOT, steady", QLOT, rule=rule, weighted=True)
    yield Method(RAW, RAW, QLOT)
    for s in settings.gates:
        yield Method(f"{RAW}, gate {s.radius:g} px", f"{RAW}, gate", QLOT, s.gate())
    yield from (Method(peer, peer, peer) for peer in peers)
    for tracker, name in {QLOT: RAW, **{peer: peer for peer in peers}}.items():
        for e in settings.one_euro:
            label = f"{name} + One-Euro {e.min_cutoff:g} Hz, beta {e.beta:g}"
            yield Method(label, f"{name} + One-Euro, beta {e.beta:g}", tracker, rule=e.rule())
    for weighted in (False, True):
        family = f"{RAW} + Kalman" + (" on covariances" if weighted else "")
        for k in settings.kalman:
            yield Method(f"{family} {k.acceleration:g} px²/s³", family, QLOT, rule=k.rule(), weighted=weighted)


def track(
    spec: TrackerSpec, stages: Network, clip: RenderedClip, points: PointSet, gate: Gate = NO_GATE
) -> ClipAnswers:
    """Run the runtime's tracker over a clip, one step a frame, from the first frame's exact crop as disturbed.

    Its confidence is told to find everything and lose nothing: a benchmark of steadiness must not depend on a search.
    """
    first = fit_crop(np.array(spec.layout.points), clip.landmarks[points.truth][0])
    rule = crop_of(first, spec.preprocessing.crop)
    x, y, scale = clip.start
    start = CropBox(rule.center_x + x * rule.side, rule.center_y + y * rule.side, rule.side * float(np.exp(scale)))
    tracker = Tracker(
        spec.model_copy(update={"confidence": ANY_FACE}),
        stages,
        gate=gate,
        steady=False,
        iterations=IterationSpec(cold=spec.iterations.cold, tracking=1),
        detector=lambda _: start,
    )
    count = len(points.layout)
    positions, covariances = np.full((len(clip.times), count, 2), np.nan), np.zeros((len(clip.times), count, 2, 2))
    milliseconds = np.zeros(len(clip.times))
    for i, (frame, moment) in enumerate(zip(clip.frames, clip.times, strict=True)):
        begin = time.perf_counter()
        result = tracker.update(frame, float(moment))
        milliseconds[i] = 1e3 * (time.perf_counter() - begin)
        if result.landmarks is not None and result.covariances is not None:
            positions[i], covariances[i] = result.landmarks[points.layout], result.covariances[points.layout]
    return ClipAnswers(positions, covariances, milliseconds)


def smooth(raw: ClipAnswers, times: Array, rule: Rule, weighted: bool = False) -> ClipAnswers:
    """Run a filter over a track, anew after every loss; `weighted` tells it the predicted covariances."""
    smoother, positions = LandmarkFilter(rule), np.full_like(raw.positions, np.nan)
    milliseconds = np.zeros(len(times))
    for i, (landmarks, moment) in enumerate(zip(raw.positions, times, strict=True)):
        start = time.perf_counter()
        if np.isfinite(landmarks).all():
            noise = raw.covariances[i] if weighted and raw.covariances is not None else None
            positions[i] = smoother.update(landmarks, float(moment), noise)
        else:
            smoother.reset()
        milliseconds[i] = 1e3 * (time.perf_counter() - start)
    return ClipAnswers(positions, None, None if raw.milliseconds is None else raw.milliseconds + milliseconds)
