"""One page about a tracked video: pictures, paths, confidence, latency and uncertainty over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from qlot.runtime.geometry import FloatArray
from qlot.runtime.media.drawing import relative_sigma
from qlot.runtime.media.thinned import Thinned
from qlot.runtime.media.video import Image
from qlot.runtime.partial import written_whole
from qlot.runtime.tracking.result import Status, TrackResult

Array = NDArray[np.float64]

PICTURES = 6
PICTURE_HEIGHT = 360  # pixels
SAMPLES = 750  # frames drawn, at least; a video of more than twice as many is thinned evenly
# Matplotlib brings both. The last has a frame for every character, which says at least of what script it is.
USUAL_FONT, LAST_FONT = "DejaVu Sans", "Last Resort High-Efficiency"
STATUS_COLORS = {Status.SEARCHING: "#d9d9d9", Status.TRACKING: "#cdebc5", Status.LOST: "#f4b6a6"}


@dataclass(frozen=True)
class _Row:
    timestamp: float
    status: Status
    confidence: float
    milliseconds: dict[str, float]
    landmarks: FloatArray | None
    sigmas: Array | None  # (3,): 10, 50 and 90 % of the landmarks lie below, share of the face size


class Summary:
    """Collects a video's answers and writes the page. What it holds does not grow with the video's length."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._frames = Thinned[_Row](SAMPLES)
        self._pictures = Thinned[tuple[float, Image]](PICTURES)

    def add(self, result: TrackResult, picture: Callable[[], Image]) -> None:
        """Add a frame; `picture` is called only for the few frames that are kept as pictures."""
        self._pictures.add(lambda: (result.timestamp, _small(picture())))
        self._frames.add(lambda: _row(result))

    @property
    def _rows(self) -> list[_Row]:
        return self._frames.items

    def pictures(self) -> list[tuple[float, Image]]:
        """Return the time stamps and pictures the page shows, evenly spread over the video."""
        pictures = self._pictures.items
        count = min(PICTURES, len(pictures))
        return [pictures[i] for i in np.linspace(0, len(pictures) - 1, count).round().astype(int)]

    def write(self, path: Path) -> None:
        """Write the page as a PNG.

        Raises:
            ValueError: no frame was added.
        """
        if not self._rows:
            raise ValueError("a summary needs at least one frame")
        figure = Figure(figsize=(14, 10), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        title = printable(self._title)
        figure.suptitle(title, fontsize=12, parse_math=False, fontfamily=_families(title))
        above, below = figure.subfigures(2, 1, height_ratios=[2, 7], squeeze=False)[:, 0]
        self._draw_pictures(above)
        left, right = below.subfigures(1, 2, width_ratios=[2, 3], squeeze=False)[0]
        self._draw_paths(left.subplots())
        confidence, latency, uncertainty = right.subplots(3, 1, sharex=True)
        time = np.array([row.timestamp for row in self._rows])
        self._draw_confidence(confidence, time)
        self._draw_latency(latency, time)
        self._draw_uncertainty(uncertainty, time)
        uncertainty.set_xlabel("time, s")
        with written_whole(path) as temporary:
            figure.savefig(temporary, format="png")

    def _draw_pictures(self, figure: Figure) -> None:
        pictures = self.pictures()
        places = figure.subplots(1, len(pictures), squeeze=False)[0]
        for axes, (timestamp, picture) in zip(places, pictures, strict=True):
            axes.imshow(picture)
            axes.set_title(f"{timestamp:.2f} s", fontsize=10)
            axes.set_axis_off()

    def _draw_paths(self, axes: Axes) -> None:
        axes.set_title("paths of the landmarks", loc="left")
        axes.set(xlabel="x, pixels", ylabel="y, pixels")
        last = next((row.landmarks for row in reversed(self._rows) if row.landmarks is not None), None)
        if last is None:
            axes.text(0.5, 0.5, "no face in any frame", ha="center", va="center", transform=axes.transAxes)
            return
        gap = np.full_like(last, np.nan)
        paths = np.stack([gap if row.landmarks is None else row.landmarks for row in self._rows])
        axes.plot(paths[..., 0], paths[..., 1], color="#3b6ea5", linewidth=0.6, alpha=0.6)
        axes.scatter(last[:, 0], last[:, 1], s=5, color="black", zorder=3, label="last frame with a face")
        axes.set_aspect("equal", adjustable="datalim")
        axes.invert_yaxis()
        _legend_above(axes)

    def _draw_confidence(self, axes: Axes, time: Array) -> None:
        step = float(np.median(np.diff(time))) if len(time) > 1 else 1 / 30
        edges = np.append(time, time[-1] + step)
        changes = [i for i, row in enumerate(self._rows) if i == 0 or row.status != self._rows[i - 1].status]
        for first, last in zip(changes, [*changes[1:], len(self._rows)], strict=True):
            axes.axvspan(edges[first], edges[last], color=STATUS_COLORS[self._rows[first].status], linewidth=0)
        axes.plot(time, [row.confidence for row in self._rows], color="black", linewidth=1)
        axes.set_title("confidence and status", loc="left")
        axes.set(ylim=(0, 1.02), xlim=(edges[0], edges[-1]))
        bands = [Patch(color=color, label=str(status)) for status, color in STATUS_COLORS.items()]
        _legend_above(axes, handles=bands)

    def _draw_latency(self, axes: Axes, time: Array) -> None:
        for stage in dict.fromkeys(stage for row in self._rows for stage in row.milliseconds):
            spent = np.array([row.milliseconds.get(stage, np.nan) for row in self._rows])
            style = {"color": "black", "linewidth": 1.2} if stage == "total" else {"linewidth": 0.9}
            axes.plot(time, spent, label=f"{stage} {np.nanmedian(spent):.2f}", **style)
        axes.set_title("latency (and median), ms", loc="left")
        _log_scale(axes)
        if axes.lines:
            _legend_above(axes)

    def _draw_uncertainty(self, axes: Axes, time: Array) -> None:
        axes.set_title("standard deviation of the landmarks", loc="left")
        axes.set(ylabel="% of the face size")
        known = [row.sigmas for row in self._rows if row.sigmas is not None]
        if not known:
            return
        unknown = np.full(len(known[0]), np.nan)
        sigmas = 100 * np.stack([unknown if row.sigmas is None else row.sigmas for row in self._rows])
        low, middle, high = sigmas.T  # nan in frames without a face
        axes.fill_between(time, low, high, color="#f0c27b", linewidth=0, label="10 % to 90 %")
        axes.plot(time, middle, color="#8a5a00", linewidth=1, label=f"median landmark ({np.nanmedian(middle):.2f} %)")
        _log_scale(axes)
        _legend_above(axes)


def printable(text: str) -> str:
    """Return a text that any font can try: what is no character (bytes of a file name, controls) becomes U+FFFD."""
    decoded = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in decoded)


def _families(text: str) -> list[str]:
    """Return fonts that together have the text's characters, as far as this machine has any: the usual one first."""
    families = [USUAL_FONT]
    missing = set(text) - {"\n"} - _characters(font_manager.findfont(USUAL_FONT))
    if not missing:
        return families
    fonts = sorted(font_manager.fontManager.ttflist, key=lambda font: font.name == LAST_FONT)
    for font in fonts:
        if found := missing & _characters(font.fname):
            families.append(font.name)
            missing -= found
    return families


def _characters(file: str) -> set[str]:
    return {chr(code) for code in font_manager.get_font(file).get_charmap()}


def _row(result: TrackResult) -> _Row:
    sigmas = None
    if result.landmarks is not None and result.covariances is not None:
        each = relative_sigma(result.landmarks.astype(np.float64), result.covariances.astype(np.float64))
        sigmas = np.quantile(each, (0.1, 0.5, 0.9))
    return _Row(result.timestamp, result.status, result.confidence, result.milliseconds, result.landmarks, sigmas)


def _log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def _legend_above(axes: Axes, **options: Any) -> None:
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=5, fontsize=9, frameon=False, **options
    )


def _small(picture: Image) -> Image:
    scale = min(1.0, PICTURE_HEIGHT / picture.shape[0])
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
