"""What is concluded of a subject in a run: medians, lines over K and N, achieved arithmetic, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from qlot.benchmarks.protocol.constants import protocol
from qlot.benchmarks.protocol.statistics import (
    Array,
    Interval,
    Line,
    SampleSummary,
    fit_line,
    medians,
    ratio,
    slope_ratio,
    summary,
)
from qlot.benchmarks.results.model import Part, RunResult, SeriesSpec, SoakSpec, SubjectSpec

YARDSTICK, ITERATION = "yardstick", "an iteration"
WHOLE: tuple[Part, ...] = ("frame", "network")
PARTS: tuple[Part, ...] = (*WHOLE, "preprocess", "extractor", "refiner", "postprocess", "network extractor",
                           "network refiner")  # fmt: skip


def series_of(subject: SubjectSpec, part: Part, iterations: int) -> SeriesSpec | None:
    """Return a subject's series of a part at K, if there is one."""
    return next((s for s in subject.series if (s.part, s.iterations) == (part, iterations)), None)


def rounds_of(series: SeriesSpec) -> Array:
    """Return the medians of a series' rounds (R,)."""
    return medians(series.rounds) if series.rounds is not None else np.array(series.medians, np.float64)


def summary_of(series: SeriesSpec) -> SampleSummary:
    """Return a summary of a series' samples, or the one that came in their place."""
    if series.rounds is not None:
        return summary([x for samples in series.rounds for x in samples])
    given = series.summary
    assert given is not None  # the schema: one or the other
    return SampleSummary(given.count, given.least, given.p50, given.p90, given.p99, given.mean, given.mad)


def steps_of(subject: SubjectSpec, part: Part = "frame") -> list[int]:
    """Return the K at which a part was measured."""
    return sorted(s.iterations for s in subject.series if s.part == part)


def usual_steps(subject: SubjectSpec) -> int:
    """Return the K that a user gets: the bundle's own if it was measured, or else the least."""
    measured = steps_of(subject) or steps_of(subject, "network") or [0]
    own = subject.bundle.steps if subject.bundle else 0
    return own if own in measured else measured[0]


def line_over_steps(subject: SubjectSpec, part: Part) -> Line | None:
    """Fit a part's time a + b K; None with fewer than three K."""
    steps = steps_of(subject, part)
    return fit_line(steps, _points(subject, part, steps)) if len(steps) >= 3 else None


def _points(subject: SubjectSpec, part: Part, steps: Sequence[int]) -> list[Array]:
    found = [series_of(subject, part, k) for k in steps]
    return [rounds_of(s) for s in found if s]


class LandmarkLine(NamedTuple):
    """Frames over the number of landmarks, of bundles of one network in one run."""

    name: str
    counts: tuple[int, ...]
    line: Line


def lines_over_landmarks(result: RunResult) -> Iterator[LandmarkLine]:
    """Fit a frame's time a + b N over bundles that differ in their layout alone; three of them are needed."""
    groups: dict[str, dict[int, Array]] = {}
    for subject in result.subjects:
        bundle, series = subject.bundle, series_of(subject, "frame", usual_steps(subject))
        if bundle and series:
            name = f"{bundle.preset} {bundle.target} {bundle.scheme}, threads: {subject.threads}"
            key = f"{name} {bundle.checkpoint_sha256}"
            groups.setdefault(key, {}).setdefault(bundle.landmarks, rounds_of(series))
    for key, by_count in groups.items():
        if len(by_count) >= 3:
            counts = tuple(sorted(by_count))
            yield LandmarkLine(key.rpartition(" ")[0], counts, fit_line(counts, [by_count[n] for n in counts]))


class StageRate(NamedTuple):
    """Achieved arithmetic of a stage."""

    stage: str
    gflops: float
    share: float | None  # of the peak measured in the same run


def rates(subject: SubjectSpec, result: RunResult) -> Iterator[StageRate]:
    """Return the GFLOP/s of a bundle's graphs alone; a multiply-accumulate counts as two."""
    bundle, steps = subject.bundle, usual_steps(subject)
    if bundle is None:
        return
    peak = peak_of(result)
    for stage, part, calls in (("extractor", "network extractor", 1), ("refiner", "network refiner", steps)):
        series = series_of(subject, part, steps)  # type: ignore[arg-type]
        if series:
            done = 2 * bundle.macs[stage] * calls / summary_of(series).p50 / 1e6  # type: ignore[index]
            yield StageRate(stage, done, done / peak if peak else None)


def peak_of(result: RunResult) -> float | None:
    """Return the GFLOP/s of the run's yardstick, its median."""
    for subject in result.subjects:
        if subject.kind == YARDSTICK and subject.operations and subject.series:
            return 2 * subject.operations / summary_of(subject.series[0]).p50 / 1e6
    return None


class Comparison(NamedTuple):
    """One subject over another."""

    above: str
    below: str
    part: str
    iterations: int  # 0: of all
    ratio: Interval

    @property
    def verdict(self) -> str:
        """In words; an interval that holds 1 shows nothing."""
        if 1.0 in self.ratio:
            return "no difference shown"
        change = abs(self.ratio.value - 1)
        return f"{change:.1%} {'slower' if self.ratio.value > 1 else 'faster'}"


def compared(above: SubjectSpec, below: SubjectSpec, paired: bool) -> Iterator[Comparison]:
    """Compare two subjects in what both were measured at: frames and networks at each K, parts at the usual one."""
    usual = usual_steps(above)
    for part in PARTS:
        for k in steps_of(above, part):
            one, other = series_of(above, part, k), series_of(below, part, k)
            if one and other and (part in WHOLE or k == usual):
                yield Comparison(above.name, below.name, part, k, ratio(rounds_of(one), rounds_of(other), paired))


def within(result: RunResult) -> Iterator[Comparison]:
    """Compare all bundles of a run, each with those before it, and each with the peers, by the network alone."""
    bundles = [s for s in result.subjects if s.kind == "bundle"]
    for below, above in combinations(bundles, 2):
        yield from compared(above, below, paired=True)
        yield from slopes(above, below)
    for peer in (s for s in result.subjects if s.kind == "peer"):
        for bundle in bundles:
            yield from beside(bundle, peer)


def beside(bundle: SubjectSpec, peer: SubjectSpec) -> Iterator[Comparison]:
    """Compare a bundle's network with a peer's: at the same K where the peer has steps, else at the bundle's own."""
    for other in (s for s in peer.series if s.part == "network"):
        k = other.iterations or usual_steps(bundle)
        series = series_of(bundle, "network", k)
        if series:
            yield Comparison(bundle.name, peer.name, "network", k, ratio(rounds_of(series), rounds_of(other), True))
    yield from slopes(bundle, peer)


def slopes(above: SubjectSpec, below: SubjectSpec) -> Iterator[Comparison]:
    """Compare what an iteration of the network costs, where both were measured at three K or more."""
    steps = [k for k in steps_of(above, "network") if k in steps_of(below, "network")]
    if len(steps) >= 3:
        found = slope_ratio(steps, _points(above, "network", steps), _points(below, "network", steps))
        yield Comparison(above.name, below.name, ITERATION, 0, found)


class Growth(NamedTuple):
    """Memory over a soak, from where it has settled."""

    bytes_a_frame: float
    whole: float  # bytes over all frames
    flat: bool


def growth(soak: SoakSpec) -> Growth:
    """Fit a line through the resident memory, once it has settled."""
    constants = protocol().soak
    sizes: Sequence[int] = soak.resident[int(len(soak.resident) * constants.settled) :]
    slope = float(np.polyfit(np.arange(len(sizes)) * soak.every, sizes, 1)[0]) if len(sizes) > 1 else 0.0
    whole = slope * soak.frames
    return Growth(slope, whole, abs(whole) < constants.flat)


@dataclass(frozen=True)
class Row:
    """One subject of one run, in a table."""

    result: RunResult
    subject: SubjectSpec
    steps: int
    frame: SampleSummary | None
    line: Line | None
    network: SampleSummary | None


def rows(results: Sequence[RunResult]) -> list[Row]:
    """List what has been measured, yardsticks apart."""
    found = []
    for result in results:
        for subject in result.subjects:
            if subject.kind == YARDSTICK:
                continue
            k = usual_steps(subject)
            frame, alone = series_of(subject, "frame", k), series_of(subject, "network", k)
            found.append(
                Row(
                    result,
                    subject,
                    k,
                    summary_of(frame) if frame else None,
                    line_over_steps(subject, "network") or line_over_steps(subject, "frame"),
                    summary_of(alone) if alone else None,
                )
            )
    return found
