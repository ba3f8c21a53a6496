"""The report's charts, as SVG in the page: nothing is fetched, and a printer is as good a reader as a screen."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from qlot.benchmarks.report.facts import (
    Row,
    line_over_steps,
    lines_over_landmarks,
    rounds_of,
    series_of,
    steps_of,
    summary_of,
    usual_steps,
)
from qlot.benchmarks.report.quality import Quality, quality_of
from qlot.benchmarks.report.tables import PARTS
from qlot.benchmarks.results.model import RunResult

Draw = Callable[[Axes], bool]  # whether there was anything to draw
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
MOST = 12  # subjects in one chart


def charts(
    found: Sequence[Row], results: Sequence[RunResult], quality: Mapping[str, Quality]
) -> list[tuple[str, Element]]:
    """Return the charts that there is something for, each with what it shows."""
    wanted: list[tuple[str, Draw]] = [
        ("Latency of a frame: half of the frames lie in the box, the whiskers reach to 1 and 99 %", _latency(found)),
        ("Parts of a frame", _stages(found)),
        ("A frame over the steps K: medians and the line a + b K", _over_steps(found)),
        ("A frame over the landmarks N: medians and the line a + b N", _over_landmarks(results)),
        ("At a camera's pace: medians of windows", _sustained(found)),
        ("Flicker at rest over the latency of a frame: low and left is better", _flicker(found, quality)),
    ]
    drawn = []
    for caption, draw in wanted:
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        if draw(figure.add_subplot()):
            drawn.append((caption, _svg(figure, caption)))
    return drawn


def _latency(found: Sequence[Row]) -> Draw:
    def draw(axes: Axes) -> bool:
        kept = [(r, s) for r in found if (s := series_of(r.subject, "frame", r.steps)) and s.rounds][:MOST]
        boxes = []
        for row, series in kept:
            values = np.concatenate([np.asarray(x) for x in series.rounds or ()])
            low, q1, middle, q3, high = np.quantile(values, [0.01, 0.25, 0.5, 0.75, 0.99])
            boxes.append({"label": _short(row), "whislo": low, "q1": q1, "med": middle, "q3": q3, "whishi": high})
        if boxes:
            axes.bxp(boxes[::-1], vert=False, showfliers=False)
            axes.set_xlabel("ms")
            axes.set_xlim(left=0)
        return bool(boxes)

    return draw


def _stages(found: Sequence[Row]) -> Draw:
    def draw(axes: Axes) -> bool:
        kept = [r for r in found if all(series_of(r.subject, p, r.steps) for p in PARTS)][:MOST]
        left = np.zeros(len(kept))
        for part in PARTS:
            series = [series_of(r.subject, part, r.steps) for r in kept]
            width = np.array([summary_of(s).p50 for s in series if s])
            axes.barh(np.arange(len(kept)), width, left=left, label=part)
            left = left + width
        axes.set_yticks(np.arange(len(kept)), [_short(r) for r in kept])
        axes.invert_yaxis()
        axes.set_xlabel("ms, medians")
        if kept:
            axes.legend(fontsize=8)
        return bool(kept)

    return draw


def _over_steps(found: Sequence[Row]) -> Draw:
    def draw(axes: Axes) -> bool:
        fitted = [(row, line) for row in found if (line := line_over_steps(row.subject, "frame"))]
        for row, line in fitted[:MOST]:
            steps = steps_of(row.subject)
            series = [series_of(row.subject, "frame", k) for k in steps]
            points = axes.plot(steps, [np.median(rounds_of(s)) for s in series if s], "o", ms=4)
            ends = np.array([0, steps[-1]])
            colour = points[0].get_color()
            axes.plot(ends, line.a.value + line.b.value * ends, color=colour, lw=1, label=_short(row))
        return _finish(axes, "K, steps a frame", "ms")

    return draw


def _over_landmarks(results: Sequence[RunResult]) -> Draw:
    def draw(axes: Axes) -> bool:
        for result in results:
            for name, counts, line in lines_over_landmarks(result):
                ends = np.array([0, counts[-1]])
                drawn = axes.plot(ends, line.a.value + line.b.value * ends, lw=1, label=name)
                for subject in result.subjects:
                    b = subject.bundle
                    if b and name.startswith(f"{b.preset} {b.target} {b.scheme}, threads: {subject.threads}"):
                        series = series_of(subject, "frame", usual_steps(subject))
                        if series:
                            middle = float(np.median(rounds_of(series)))
                            axes.plot([b.landmarks], [middle], "o", ms=4, color=drawn[0].get_color())
        return _finish(axes, "N, landmarks", "ms")

    return draw


def _sustained(found: Sequence[Row]) -> Draw:
    def draw(axes: Axes) -> bool:
        for row in found:
            run = row.subject.sustained
            if run:
                times = [w.start for w in run.windows]
                axes.plot(times, [w.p50 for w in run.windows], "-o", ms=3, label=f"{_short(row)}, {run.fps:g} fps")
                axes.plot(times, [w.p99 for w in run.windows], ":", lw=1, color=axes.lines[-1].get_color())
        axes.set_ylim(bottom=0)
        return _finish(axes, "seconds", "ms, p50 (p99 dotted)")

    return draw


def _flicker(found: Sequence[Row], quality: Mapping[str, Quality]) -> Draw:
    def draw(axes: Axes) -> bool:
        for row in found:
            flicker = quality_of(row.subject, quality).flicker
            if flicker is not None and row.frame:
                axes.plot([row.frame.p50], [flicker], "o", label=_short(row))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        return _finish(axes, "ms a frame", "flicker, % of the outer eyes")

    return draw


def _finish(axes: Axes, x: str, y: str) -> bool:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if axes.lines:
        axes.legend(fontsize=7)
    return bool(axes.lines)


def _short(row: Row) -> str:
    return row.subject.name if len(row.subject.name) <= 44 else f"{row.subject.name[:41]}..."


def _svg(figure: Figure, caption: str) -> Element:
    """Return a figure as an element; the same figure gives the same text."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": caption, "font.size": 9}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = re.sub(r"<!DOCTYPE[^>]*>", "", buffer.getvalue())
    root = ElementTree.fromstring(text)
    for part in root.iter():
        part.tag = part.tag.removeprefix(_SVG)
        if (link := part.attrib.pop(_LINK, None)) is not None:
            part.attrib["href"] = link  # in HTML no prefix is declared
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": caption, "style": "background:#fff;color-scheme:light"}
    return root
