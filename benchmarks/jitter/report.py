"""A run's results as JSON, as a table and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from qlot.benchmarks.jitter.measures import (
    BLINK_DEPTH,
    ERROR,
    FLICKER,
    LATENCY,
    LOST,
    MEANING,
    NMF,
    OVERSHOOT,
    PUPILS,
    RAMP_FLICKER,
    RAMP_LAG,
    gain_of,
    lag_of,
)
from qlot.benchmarks.jitter.methods import QLOT
from qlot.benchmarks.jitter.protocol import JitterProtocol, SineSpec
from qlot.benchmarks.jitter.run import MethodScores
from qlot.runtime.partial import written_whole

USUAL = "One-Euro 1 Hz, beta 0.3"  # of the filters, the one that keeps up with motion
PLOT_HERTZ = 1.0  # the sine whose lag is the plot's axis


def record(results: Sequence[MethodScores], protocol: JitterProtocol, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `results.json` holds: what was run, what the keys mean, every face's value."""
    sines = {lag_of(f): f"sine of {f:g} Hz: phase lag, ms" for f in _frequencies(protocol)}
    gains = {gain_of(f): f"sine of {f:g} Hz: amplitude over the true one" for f in _frequencies(protocol)}
    return {
        **about,
        "protocol": protocol.model_dump(mode="json"),
        "measures": {**MEANING, **sines, **gains},
        "methods": [
            {
                "label": result.method.label,
                "family": result.method.family,
                "scores": {
                    key: {"mean": _number(score.mean), "faces": [_number(value) for value in score.faces]}
                    for key, score in sorted(result.scores.items())
                },
            }
            for result in results
        ],
    }


def tables(results: Sequence[MethodScores], protocol: JitterProtocol) -> tuple[Table, Table]:
    """Return means over the faces, one row per method: steadiness, then lag. Both fit 80 columns."""
    steadiness = {
        "flicker\n%": FLICKER,
        "NMF": NMF,
        "ramp\nms": RAMP_LAG,
        "ramp\n%": RAMP_FLICKER,
        "over-\nshoot %": OVERSHOOT,
        "blink\n%": BLINK_DEPTH,
        "pupils\n%": PUPILS,
        "error\n%": ERROR,
        "lost\n%": LOST,
    }
    lags = {f"{f:g} Hz\nms": lag_of(f) for f in _frequencies(protocol)}
    fastest = max(_frequencies(protocol))
    lags[f"{fastest:g} Hz\ngain"] = gain_of(fastest)
    return _table("at rest and in steps", steadiness, results), _table("behind a sine", lags, results)


def picks(results: Sequence[MethodScores]) -> Table:
    """Return what a user would pick among: each tracker at its own defaults, and the usual filter behind the peers."""
    columns = {
        "ms a\nframe": LATENCY,
        "flicker\n%": FLICKER,
        "ramp\n%": RAMP_FLICKER,
        "lag 1 Hz\nms": lag_of(PLOT_HERTZ),
        "blink\n%": BLINK_DEPTH,
        "pupils\n%": PUPILS,
        "error\n%": ERROR,
    }
    plain = [r for r in results if r.method.label in (QLOT, r.method.tracker)]
    filtered = [r for r in results if r.method.tracker != QLOT and r.method.label.endswith(USUAL)]
    return _table("what would a user pick", columns, [*plain, *filtered])


def _table(title: str, columns: Mapping[str, str], results: Sequence[MethodScores]) -> Table:
    shown = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="", collapse_padding=True)
    shown.add_column("method", overflow="fold")
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    for result in results:
        shown.add_row(result.method.label, *(_cell(result.mean(key)) for key in columns.values()))
    return shown


def plot(results: Sequence[MethodScores], path: Path, title: str) -> None:
    """Write flicker over lag as a PNG; settings of one family are one line. What lost a face is not drawn."""
    figure = Figure(figsize=(9, 6.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    drawn = [r for r in results if math.isfinite(r.mean(FLICKER)) and math.isfinite(r.mean(lag_of(PLOT_HERTZ)))]
    for i, (family, group) in enumerate(groupby(drawn, lambda r: r.method.family)):
        members = list(group)
        points = [(r.mean(lag_of(PLOT_HERTZ)), r.mean(FLICKER)) for r in members]
        alone = len(points) == 1
        style: dict[str, Any] = {"markersize": 11, "zorder": 3} if alone else {"markersize": 4, "linewidth": 1}
        line = "-" if members[0].method.tracker == QLOT else "--"
        color = colormaps["tab20"](i)
        axes.plot(*zip(*points, strict=True), line, marker="so^DvP*X"[i % 8], color=color, label=family, **style)
    axes.set_yscale("log")
    axes.set(xlabel=f"lag at {PLOT_HERTZ:g} Hz, ms", ylabel=f"flicker ({MEANING[FLICKER]})")
    axes.grid(which="both", alpha=0.25)
    if drawn:
        axes.legend(fontsize=8, frameon=False)
    axes.set_title(title, fontsize=10, loc="left")
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png")


def _frequencies(protocol: JitterProtocol) -> list[float]:
    return [motion.hertz for motion in protocol.motions if isinstance(motion, SineSpec)]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def _cell(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"
