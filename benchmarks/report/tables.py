"""Tables in Markdown: what runs say, one line for each subject, devices of one class together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from qlot.benchmarks.protocol.statistics import Interval
from qlot.benchmarks.report.facts import (
    ITERATION,
    WHOLE,
    Row,
    growth,
    line_over_steps,
    lines_over_landmarks,
    peak_of,
    rates,
    rows,
    series_of,
    steps_of,
    summary_of,
    usual_steps,
    within,
)
from qlot.benchmarks.report.quality import Quality, quality_of
from qlot.benchmarks.results.model import DeviceClass, Part, RunResult

CLASSES: Mapping[DeviceClass, str] = {
    "phone": "Phones",
    "browser": "Browsers",
    "host": "Hosts: computers, which say nothing about a phone",
    "emulated": "Emulated processors, whose times say nothing about a real one",
}
NONE = "-"
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # head, rows
PARTS: tuple[Part, ...] = ("preprocess", "extractor", "refiner", "postprocess")


def latency(found: Sequence[Row], quality: Mapping[str, Quality]) -> Table:
    """Tell what a frame costs, beside how right and how steady it is."""
    head = ("what", "device", "engine", "K", "frame p50", "p90", "p99", "an iteration", "network alone", "golden px",
            "flicker %", "lag ms", "blink %", "rendered %", "NME %")  # fmt: skip
    lines: list[tuple[str, ...]] = []
    for row in found:
        subject, env = row.subject, row.result.environment
        known = quality_of(subject, quality)
        frame, replay = row.frame, subject.replay
        lines.append(
            (
                subject.name + ("" if row.result.valid else " (not valid)"),
                env.device.split(",")[0],
                subject.engine,
                str(row.steps) if row.steps else NONE,
                *((_ms(frame.p50), _ms(frame.p90), _ms(frame.p99)) if frame else (NONE,) * 3),
                interval(row.line.b) if row.line else NONE,
                _ms(row.network.p50) if row.network else NONE,
                f"{replay.max_px:.2g}" if replay else NONE,
                *(_of(x) for x in (known.flicker, known.lag, known.blink, known.rendered, known.nme)),
            )
        )
    return head, lines


def stages(found: Sequence[Row]) -> Table:
    """Tell what the parts of a frame cost at the K that a user gets."""
    head = ("what", "K", *PARTS, "p50, ms")
    lines: list[tuple[str, ...]] = []
    for row in found:
        parts = [series_of(row.subject, part, row.steps) for part in PARTS]
        if row.frame and all(parts):
            times = (_ms(summary_of(s).p50) for s in parts if s)
            lines.append((row.subject.name, str(row.steps), *times, _ms(row.frame.p50)))
    return head, lines


def over_steps(found: Sequence[Row]) -> Table:
    """Fit times of frames, and of the graphs alone, as lines over K."""
    head = ("what", "part", "K", "a, ms", "b, ms an iteration", "largest residual")
    lines: list[tuple[str, ...]] = []
    for row in found:
        for part in WHOLE:
            line, steps = line_over_steps(row.subject, part), ", ".join(map(str, steps_of(row.subject, part)))
            if line:
                lines.append(
                    (row.subject.name, part, steps, interval(line.a), interval(line.b), f"{line.residual:.1%}")
                )
    return head, lines


def over_landmarks(results: Iterable[RunResult]) -> Table:
    """Fit a frame's time as a line over N."""
    head = ("what", "N", "a, ms", "b, µs a landmark", "largest residual")
    lines: list[tuple[str, ...]] = []
    for result in results:
        for name, counts, line in lines_over_landmarks(result):
            slope = Interval(*(1e3 * x for x in (line.b.value, line.b.low, line.b.high)))
            lines.append((name, ", ".join(map(str, counts)), interval(line.a), interval(slope), f"{line.residual:.1%}"))
    return head, lines


def roofline(results: Iterable[RunResult]) -> Table:
    """Set achieved arithmetic beside the peak of the same run."""
    head = ("what", "stage, graph alone", "GFLOP/s", "of the peak", "peak, GFLOP/s")
    lines: list[tuple[str, ...]] = []
    for result in results:
        peak = peak_of(result)
        for subject in result.subjects:
            for stage, gflops, share in rates(subject, result):
                of = f"{share:.0%}" if share else NONE
                lines.append((subject.name, stage, f"{gflops:.1f}", of, f"{peak:.1f}" if peak else NONE))
    return head, lines


def comparisons(results: Iterable[RunResult]) -> Table:
    """List ratios within one run, of the same rounds: what a user gets; `qlot bench compare` says more."""
    head = ("this", "over that", "part", "K", "ratio", "verdict")
    lines: list[tuple[str, ...]] = [
        (c.above, c.below, c.part, str(c.iterations) if c.iterations else NONE, interval(c.ratio), c.verdict)
        for result in results
        for c in within(result)
        if c.part == ITERATION or (c.part in WHOLE and c.iterations == _usual(result, c.above))
    ]
    return head, lines


def _usual(result: RunResult, name: str) -> int:
    return next(usual_steps(subject) for subject in result.subjects if subject.name == name)


def memory(found: Sequence[Row]) -> Table:
    """Tell what the process holds."""
    head = ("what", "peak MB", "soak, frames", "growth, bytes a frame", "")
    lines: list[tuple[str, ...]] = []
    for row in found:
        held = row.subject.memory
        if held.peak is None and held.soak is None:
            continue
        peak = f"{held.peak / 1e6:.0f}" if held.peak else NONE
        if held.soak:
            grown = growth(held.soak)
            verdict = "flat" if grown.flat else f"GROWS by {grown.whole / 1e6:.1f} MB"
            lines.append((row.subject.name, peak, str(held.soak.frames), f"{grown.bytes_a_frame:.1f}", verdict))
        else:
            lines.append((row.subject.name, peak, NONE, NONE, "not soaked"))
    return head, lines


def paced(found: Sequence[Row]) -> Table:
    """List sustained runs."""
    head = ("what", "fps", "seconds", "first window p50", "last window p50", "missed", "cool-down s")
    lines: list[tuple[str, ...]] = []
    for row in found:
        run = row.subject.sustained
        if run:
            missed, frames = sum(w.missed for w in run.windows), sum(w.frames + w.missed for w in run.windows)
            cooled = NONE if run.cool_down is None else f"{run.cool_down:.1f}"
            lines.append((row.subject.name, f"{run.fps:g}", f"{run.seconds:g}", _ms(run.windows[0].p50),
                          _ms(run.windows[-1].p50), f"{missed} of {frames}", cooled))  # fmt: skip
    return head, lines


def sections(results: Sequence[RunResult], quality: Mapping[str, Quality]) -> Iterator[tuple[str, Table]]:
    """Yield all tables that have a line, under their titles."""
    for device_class, title in CLASSES.items():
        of_class = [r for r in results if r.environment.device_class == device_class]
        found = rows(of_class)
        tables = (
            ("latency, ms", latency(found, quality)),
            ("parts of a frame, ms", stages(found)),
            ("a + b K: what an iteration costs", over_steps(found)),
            ("a + b N: what a landmark costs", over_landmarks(of_class)),
            ("compared within a run", comparisons(of_class)),
            ("roofline", roofline(of_class)),
            ("sustained", paced(found)),
            ("memory", memory(found)),
        )
        for name, (head, lines) in tables:
            if lines:
                yield f"{title}: {name}", (head, lines)


def markdown(results: Sequence[RunResult], quality: Mapping[str, Quality]) -> str:
    """Return all tables, and what was measured where."""
    parts = ["# qlot bench\n"]
    for title, (head, lines) in sections(results, quality):
        rows_ = [head, tuple("---" for _ in head), *lines]
        body = "\n".join(f"| {' | '.join(x.replace('|', chr(92) + '|') for x in row)} |" for row in rows_)
        parts.append(f"## {title}\n\n{body}\n")
    return "\n".join([*parts, "## Runs\n", *(f"- {line}" for line in runs(results))]) + "\n"


def runs(results: Iterable[RunResult]) -> list[str]:
    """Say of each run when, where and how it was measured."""
    found = []
    for r in results:
        env, run = r.environment, r.run
        where = ", ".join(filter(None, (env.device, env.soc, env.os, env.governor and f"governor {env.governor}")))
        other = "unknown" if env.other_load is None else f"{env.other_load:.1%}"
        state = "valid" if r.valid else f"NOT VALID: {'; '.join(r.reasons)}"
        found.append(f"{run.started}, {where}; {run.driver}; protocol {run.protocol}, {run.rounds} rounds, seed "
                     f"{run.seed}; processor time that others took: {other}; {state}")  # fmt: skip
    return found


def interval(value: Interval) -> str:
    """Write a value with its interval."""
    return f"{value.value:.3g} ({value.low:.3g} to {value.high:.3g})"


def _ms(value: float) -> str:
    return f"{value:.3g}"


def _of(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"
