"""Pictures of an evaluation: its worst faces, the distribution of errors, flicker over time scales."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.media.drawing import CHI2_95, SHIFT, Color, draw, ellipse_95, relative_sigma, sigma_color
from qlot.runtime.tracking.crop import sample_crop
from qlot.runtime.tracking.result import Status, TrackResult
from qlot.training.data.clip import Array, Image

TILE = 480  # pixels
MARGIN = 1.15  # of the label's crop: landmarks that went astray stay visible
BLUE = (70, 130, 255)
COLUMNS = 4
MOST_NAMED = 12  # curves in a legend

Curve = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Tile:
    """A face with labels and prediction drawn in, and what to write above it."""

    picture: Image
    title: str


def tile(
    rgb: Image,
    box: CropBox,
    labels: Array,
    predictions: Array,
    covariances: Array,
    layout: LayoutSpec,
    title: str,
) -> Tile:
    """Draw one face: labels and errors blue, prediction green (sure) to yellow (unsure) with its one-sigma ellipses.

    Args:
        rgb: the picture (H, W, 3).
        box: the crop that the rule gives for the labels.
        labels: (N, 2) pixels of the picture; NaN is left out.
        predictions: (N, 2); NaN where there are none.
        covariances: (N, 2, 2) pixels squared.
        layout: its edges are drawn.
        title: one short line.
    """
    side = box.side * MARGIN
    around = CropBox(box.center_x, box.center_y, side)
    scale = TILE / side
    out: Image = np.rint(sample_crop(rgb, around, TILE)[0].transpose(1, 2, 0) * 255).astype(np.uint8)

    def place(points: Array) -> Array:
        return (points - (box.center_x, box.center_y)) * scale + (TILE - 1) / 2

    known = np.isfinite(labels.sum(-1))
    truth = _fixed(place(np.where(known[:, None], labels, 0.0)))
    if np.isfinite(predictions).all():
        found, spread = place(predictions), covariances * scale**2
        result = TrackResult(0.0, Status.TRACKING, found.astype(np.float32), spread.astype(np.float32), 1.0, None, 0)
        out = draw(out, result, layout, status_line=False)
        for start, end in zip(truth[known].tolist(), _fixed(found)[known].tolist(), strict=True):
            cv2.line(out, start, end, BLUE, 1, cv2.LINE_AA, SHIFT)
        for point, covariance, sigma in zip(found, spread, relative_sigma(found, spread), strict=True):
            _one_sigma(out, point, covariance, sigma_color(sigma))
    for at in truth[known].tolist():
        cv2.circle(out, at, round(2.2 * 2**SHIFT), BLUE, cv2.FILLED, cv2.LINE_AA, SHIFT)
    return Tile(out, title)


def _one_sigma(out: Image, point: Array, covariance: Array, color: Color) -> None:
    long, short, angle = ellipse_95(covariance)
    axes = np.array([long, short]) / np.sqrt(CHI2_95)
    cv2.ellipse(out, _fixed(point).tolist(), _fixed(axes).tolist(), angle, 0, 360, color, 1, cv2.LINE_AA, SHIFT)


def _fixed(values: Array) -> NDArray[np.int32]:
    return np.rint(np.clip(values, -1e5, 1e5) * 2**SHIFT).astype(np.int32)


def write_sheet(path: Path, title: str, tiles: Sequence[Tile]) -> None:
    """Write tiles as one PNG, in the order given."""
    rows = max(1, math.ceil(len(tiles) / COLUMNS))
    figure = _figure((3.2 * COLUMNS, 3.5 * rows + 0.6))
    figure.suptitle(
        f"{title}\nlabels and errors blue; prediction green (sure) to yellow (unsure) with one-sigma ellipses",
        fontsize=11,
    )
    places = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axes, one in zip(places, [*tiles, *[None] * (rows * COLUMNS - len(tiles))], strict=True):
        axes.set_axis_off()
        if one is not None:
            axes.imshow(one.picture)
            axes.set_title(one.title, fontsize=8)
    figure.savefig(path, format="png")


def write_error_cdf(path: Path, errors: Mapping[str, NDArray[np.float64]], failure: float) -> None:
    """Write the cumulative distribution of errors as a PNG.

    Args:
        path: where to.
        errors: name of a set, with its normaliser -> errors (n,) as shares; NaN, no landmarks, never is below anything.
        failure: the share above which an error counts as a failure; marked.
    """
    figure = _figure((8, 5.5))
    axes = figure.subplots()
    for name, values in errors.items():
        known = np.sort(values[np.isfinite(values)])
        axes.step(
            100 * known, np.arange(1, len(known) + 1) / len(values), where="post", label=f"{name} ({len(values)})"
        )
    axes.axvline(100 * failure, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="error, %", ylabel="share of faces at or below", xlim=(0, 200 * failure), ylim=(0, 1))
    axes.grid(alpha=0.3)
    if errors:
        axes.legend(loc="lower right", fontsize=9)
    figure.savefig(path, format="png")


def write_nad(path: Path, means: Mapping[str, Curve], clips: Mapping[str, Curve]) -> None:
    """Write Allan deviations over lengths of block as a PNG; white noise falls with their root, drift stays or rises.

    Args:
        path: where to.
        means: name of a curve -> frames per block -> share of the face size; drawn bold.
        clips: likewise, drawn thin.
    """
    figure = _figure((8, 5.5))
    axes = figure.subplots()
    bold, thin = {"linewidth": 1.8, "marker": "o", "markersize": 3}, {"linewidth": 0.8, "alpha": 0.7}
    for curves, style in ((means, bold), (clips, thin)):
        for name, curve in curves.items():
            label = name if len(curves) <= MOST_NAMED else None
            axes.plot([int(b) for b in curve], [100 * v for v in curve.values()], label=label, **style)
    axes.set(xscale="log", yscale="log", xlabel="frames per block", ylabel="Allan deviation, % of the face size")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.grid(alpha=0.3)
    if means or clips:
        axes.legend(fontsize=8)
    figure.savefig(path, format="png")


def _figure(inches: tuple[float, float]) -> Figure:
    figure = Figure(figsize=inches, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
