"""The parity report as one page of HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from qlot.export.errors import ExportError
from qlot.export.parity.levels import Levels
from qlot.export.parity.spread import Spread
from qlot.export.parity.task import LEAD_IN, READ, SHOT, ClipReport, Compared
from qlot.export.report.drawing import curves, face
from qlot.export.report.latency import HostLatency
from qlot.runtime.bundle.manifest import Manifest, StageSpec
from qlot.runtime.html import document, element, table, verdict
from qlot.runtime.partial import check_writable, written_whole

_OUTSIDE = "outside DELEGATE: "
_PARTITIONS = {
    "onnx": "ONNX Runtime runs all operators on its CPU provider: there are no partitions.",
    "coreml": "Core ML decides on the device which unit runs which operator: not known here.",
}


@dataclass(frozen=True, eq=False)
class Findings:
    """What a page is about: a bundle by name and manifest, its parity, and its times on this host."""

    name: str
    manifest: Manifest
    levels: Levels
    latency: HostLatency


def check_place(page: Path, bundle: Path) -> None:
    """Refuse a page where it cannot be, before the work.

    Raises:
        ExportError: not an HTML file, inside the bundle, where every file is listed, or nowhere to write.
    """
    if page.suffix.lower() not in (".html", ".htm") or page.is_dir():
        raise ExportError(f"--report writes one page: {page} must be the name of an .html file.")
    if bundle.resolve() in page.resolve().parents:
        raise ExportError(f"{page} would lie inside the bundle, which holds listed files only: choose another place.")
    try:
        check_writable(page)
    except OSError as e:
        raise ExportError(f"cannot write the report {page}: {e.strerror}. Choose another place with --report.") from e


def write_page(page: Path, findings: Findings) -> None:
    """Write the page whole or not at all; a page of that name is replaced.

    Raises:
        ExportError: the place cannot be written.
    """
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(page) as temporary:
            temporary.write_text(render(findings), encoding="utf-8")
    except OSError as e:
        raise ExportError(f"cannot write the report {page}: {e.strerror}.") from e


def render(findings: Findings) -> str:
    """Return the page."""
    m, levels = findings.manifest, findings.levels
    return document(
        f"Parity of {findings.name}",
        *_summary(findings),
        element("h2", "Verdicts"),
        _verdicts(levels),
        element("h2", "a  Each stage alone"),
        *_stages(levels),
        element("h2", "b  The free run"),
        *_free_run(levels, m),
        element("h2", "c  The task"),
        *_task(levels),
        element("h2", "The bundle"),
        *_bundle(m),
        element("h2", "Time on this host"),
        *_latency(findings.latency),
        element("h2", "Made with"),
        table(("tool", "version"), m.tools.items(), text_columns=2),
    )


def _summary(findings: Findings) -> Iterator[Element]:
    m, levels = findings.manifest, findings.levels
    yield element("h1", findings.name)
    yield element("p", verdict(not levels.failed), f" against {m.parity.reference}" if m.parity else "")
    rows = [
        ("model", f"{m.model.preset}, {m.model.parameters:,} parameters"),
        ("weights", f"{m.model.checkpoint}, sha256 {m.model.checkpoint_sha256[:12]}"),
        ("layout", f"{m.layout.name}, {len(m.layout.points)} landmarks"),
        ("input", f"{m.preprocessing.size} x {m.preprocessing.size} px"),
        ("target", f"{m.target}, {m.lowering} correlation"),
        ("scheme", m.scheme.name),
        ("engine of all figures", levels.free.engine),
    ]
    yield table(("", ""), rows, text_columns=2)
    yield element(
        "p",
        "px: pixels of the network input. %: of the outer-eye distance. Verified on this machine, on no phone.",
        class_="dim",
    )


def _verdicts(levels: Levels) -> Element:
    sign = {"at most": "≤", "at least": "≥"}
    rows = [
        (
            c.level,
            f"{c.subject}: {c.figure}",
            verdict(c.passed),
            f"{c.value:.3g}",
            f"{'±' if c.level == 'c' else sign[c.bound]} {c.limit:g} {c.unit}".strip(),
        )
        for c in levels.checks
    ]
    return table(("", "figure", "verdict", "found", "allowed"), rows, text_columns=3)


def _stages(levels: Levels) -> Iterator[Element]:
    report = levels.stages
    count = len(report.stages[0].px)
    yield element(
        "p",
        f"Teacher-forced: each of {count} steps starts from PyTorch's own state. The refiner gets float features; the "
        "extractor's features go through the float refiner.",
    )
    yield table(
        ("stage", "error", "median", "p99", "max"),
        [
            row
            for s in report.stages
            for row in (
                (s.name, "displacement, px", *_cells(s.spread)),
                *((s.name, name, *_cells(spread)) for name, spread in s.figures.items()),
            )
        ],
        text_columns=2,
    )
    rows = [(s.name, name, f"{value:.1f}") for s in report.stages for name, value in s.psnr.items()]
    yield element("h3", "Features as signals")
    yield table(("stage", "output", "PSNR, dB"), rows, text_columns=2)
    yield element("p", "Peak: the range of PyTorch's tensor over all frames.", class_="dim")


def _free_run(levels: Levels, m: Manifest) -> Iterator[Element]:
    free = levels.free
    yield element(
        "p",
        f"{len(free.errors)} frames, from a cold start; {m.iterations.cold} steps in the first frame, "
        f"{m.iterations.tracking} in each later one. Either side carries its own state.",
    )
    results = free.results
    per_frame = {
        "median": np.median(results, axis=1),
        "90 %": np.quantile(results, 0.9, axis=1, method="higher"),
        "max": results.max(1),
    }
    limits = {"max allowed": free.tolerance.px, "median allowed": free.median_allowed}
    yield element(
        "figure",
        curves(per_frame, limits, "frame", "px after the frame's last step"),
        element("figcaption", "Over the landmarks of each frame. Dashed: what is allowed."),
    )
    yield element("h3", "By step")
    steps = []
    for k in range(free.errors.shape[1]):
        has = ~np.isnan(free.errors[:, k, 0])
        of = "first frame" if has.sum() < len(has) else "all frames"
        percent = ("",) * 3 if free.percent is None else _cells(Spread.of(free.percent[:, k]))
        steps.append((f"{k + 1}", of, *_cells(Spread.of(free.errors[:, k])), *percent))
    head = ("median px", "p99 px", "max px", "median %", "p99 %", "max %")
    yield table(("step", "of", *head), steps, text_columns=2)
    yield element("h3", "By landmark group, all steps")
    groups = []
    for name, points in {"all": tuple(range(len(free.names))), **free.groups}.items():
        mine = list(points)
        percent = ("",) * 3 if free.percent is None else _cells(Spread.of(free.percent[..., mine]))
        groups.append((name, f"{len(mine)}", *_cells(Spread.of(free.errors[..., mine])), *percent))
    yield table(("group", "landmarks", *head), groups)
    yield element("h3", "Covariance and gate, all steps")
    rows = [(name, *_cells(Spread.of(errors))) for name, errors in free.uncertainty.items()]
    yield table(("error of", "median", "p99", "max"), rows)
    own = "the bundle's own" if m.gate.radius else "for comparison: the bundle's own gate is off"
    yield element("p", f"Gate: radius {free.gate.radius:g} px, cutoff {free.gate.cutoff:g} ({own}).", class_="dim")
    yield element("h3", "By landmark")
    worst = results.max(0)
    i = int(worst.argmax())
    yield element(
        "figure",
        face(m.layout, worst, "px"),
        element(
            "figcaption",
            "Largest error of each landmark after a frame's last step, px, on the canonical face. Worst: "
            f"{m.layout.names[i]}, {worst[i]:.3g} px.",
        ),
    )


def _task(levels: Levels) -> Iterator[Element]:
    task = levels.task
    yield element(
        "p",
        "One frame of the sample clip, sampled anew at exact sub-pixel places: the face rests, or goes round in a "
        f"circle, under sensor noise of variance {READ:g}² + {SHOT:g} × value (8-bit levels). The first {LEAD_IN} "
        "frames are not measured. NME is against the landmarks that float PyTorch finds at rest without noise, moved "
        "exactly: it has noise, lag and a bundle's own bias in it, and says nothing of labels.",
    )
    rows: list[tuple[Element | str, ...]] = []
    for clip in task.clips:
        rows += _clip_rows(clip)
    rows.append(("real clip", "flicker, second difference in the picture", "1", "", f"{100 * task.flicker:+.2f} %"))
    rows.append(("real clip", "mean distance to PyTorch, % of outer-eye distance", "", f"{task.distance:.3g}", ""))
    yield table(("clip", "figure", "PyTorch", "bundle", "change"), rows, text_columns=2)


def _clip_rows(clip: ClipReport) -> Iterator[tuple[Element | str, ...]]:
    def row(figure: str, x: Compared, change: str) -> tuple[Element | str, ...]:
        return (f"{clip.name}, {clip.frames} frames", figure, f"{x.reference:.3g}", f"{x.bundle:.3g}", change)

    yield row("NMF, px/100 on a face of 256 px", clip.nmf, f"{100 * clip.nmf.change:+.2f} %")
    yield row(f"NME, % of {clip.normaliser}", clip.nme, "")
    if clip.lag:
        yield row("lag, ms", clip.lag, "")


def _bundle(m: Manifest) -> Iterator[Element]:
    total = sum(f.bytes for f in m.files)
    rows = [(f.path, f"{f.bytes / 1e6:.3f}") for f in m.files]
    yield table(("file", "MB"), [*rows, ("all but the manifest", f"{total / 1e6:.3f}")])
    yield element("h3", "Arithmetic")
    yield table(("modules", "rule"), m.scheme.rules.items(), text_columns=2)
    yield element("h3", "Operators")
    for name, stage in m.stages.items():
        yield _operators(name, stage)
    yield element("p", _PARTITIONS.get(m.target, _delegated(m)))


def _operators(name: str, stage: StageSpec) -> Element:
    ops = {op: n for op, n in stage.ops.items() if op != "DELEGATE" and not op.startswith(_OUTSIDE)}
    listed = ", ".join(f"{op} {n}" for op, n in sorted(ops.items(), key=lambda item: (-item[1], item[0])))
    cost = f"{stage.macs / 1e6:.1f} M multiply-accumulates a call"
    return element("p", element("b", name), f": {cost}, {sum(ops.values())} operators: {listed}")


def _delegated(m: Manifest) -> str:
    def one(name: str, stage: StageSpec) -> str:
        outside = [f"{op.removeprefix(_OUTSIDE)} {n}" for op, n in stage.ops.items() if op.startswith(_OUTSIDE)]
        return f"{name}: {stage.ops.get('DELEGATE', 0)} XNNPACK partition(s), outside: {', '.join(outside) or 'none'}"

    return f"Delegated on this host. {'; '.join(one(name, s) for name, s in m.stages.items())}."


def _latency(latency: HostLatency) -> Iterator[Element]:
    rows = [(name, f"{median:.2f}", f"{high:.2f}") for name, (median, high) in latency.stages.items()]
    yield table(("stage, one call", "median ms", "90 % ms"), rows)
    yield element(
        "p",
        f"HOST, not a phone: {latency.host}; {latency.engine}, one thread, nothing else held off the machine.",
        class_="dim",
    )


def _cells(spread: Spread) -> tuple[str, str, str]:
    return f"{spread.median:.2g}", f"{spread.p99:.2g}", f"{spread.max:.2g}"
