"""Drawings of the report page, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.runtime.html import element

Array = NDArray[np.float64]

WIDTH, HEIGHT = 640.0, 270.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 26.0, 34.0
FLOOR = 1e-7  # px: below, float32 cannot tell two positions in an image apart
FACE, MARGIN = 400.0, 28.0
SHADES = 5


def curves(series: Mapping[str, Array], limits: Mapping[str, float], x_name: str, y_name: str) -> Element:
    """Draw curves (T,) over their index on a logarithmic axis, with dashed limits."""
    finite = np.concatenate([x[np.isfinite(x)] for x in series.values()] + [np.array(list(limits.values()))])
    low = math.floor(math.log10(max(float(finite.min()), FLOOR)))
    high = math.ceil(math.log10(max(float(finite.max()), 10 * FLOOR)) + 1e-9)
    high = max(high, low + 1)
    last = max(len(next(iter(series.values()))) - 1, 1)

    def x_of(i: float) -> float:
        return LEFT + i / last * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        share = (math.log10(min(max(value, FLOOR), 10.0**high)) - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts: list[Element] = []
    for decade in range(low, high + 1, max(1, (high - low) // 6)):
        y = y_of(10.0**decade)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"{10.0**decade:g}", x=LEFT - 6, y=y + 4, text_anchor="end"))
    parts += [
        element("text", str(i), x=x_of(i), y=HEIGHT - BOTTOM + 17, text_anchor="middle")
        for i in range(0, last + 1, max(1, 10 * round(last / 60)))
    ]
    parts.append(element("text", x_name, x=(LEFT + WIDTH) / 2, y=HEIGHT - 5, text_anchor="middle"))
    parts.append(element("text", y_name, x=6, y=14))
    for i, (name, values) in enumerate(series.items()):
        points = " ".join(f"{x_of(t):.1f},{y_of(float(v)):.1f}" for t, v in enumerate(values))
        parts.append(element("polyline", points=points, class_=f"curve s{i}"))
        parts.append(element("text", name, x=WIDTH - RIGHT - 74 * (len(series) - i) + 74, y=14, class_=f"t{i}",
                             text_anchor="end"))  # fmt: skip
    for name, value in limits.items():  # last: their names lie on the curves
        y = y_of(value)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="limit"))
        parts.append(element("text", f"{name} {value:g}", x=WIDTH - RIGHT - 4, y=y - 4, text_anchor="end", class_="tl"))
    label = f"{y_name} over {x_name}"
    return element("svg", *parts, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=label)


def face(layout: LayoutSpec, values: Array, unit: str) -> Element:
    """Draw the canonical face with each landmark shaded by its value (N,), which a pointer resting on it reads out."""
    points = np.array(layout.points)[:, :2] * (1, -1)
    low, high = points.min(0), points.max(0)
    scale = (FACE - 2 * MARGIN) / float((high - low).max())
    width = float(high[0] - low[0]) * scale + 2 * MARGIN
    height = float(high[1] - low[1]) * scale + 2 * MARGIN + 40
    places = (points - low) * scale + MARGIN
    top = float(np.max(values[np.isfinite(values)], initial=0.0)) or 1.0
    radius = 6.5 if len(points) <= 150 else 3.0
    parts = [
        element("line", x1=places[a, 0], y1=places[a, 1], x2=places[b, 0], y2=places[b, 1], class_="edge")
        for a, b in layout.edges
    ]
    for i in np.argsort(values):  # the worst on top
        value = float(values[i])
        title = element("title", f"{layout.names[i]}: {value:.3g} {unit}")
        x, y = places[i]
        parts.append(element("circle", title, cx=x, cy=y, r=radius, class_="dot", fill_opacity=_shade(value / top)))
    for i in range(SHADES):
        x, share = MARGIN + i * (width - 2 * MARGIN) / SHADES, (i + 1) / SHADES
        parts.append(element("circle", cx=x + 7, cy=height - 18, r=6.5, class_="dot", fill_opacity=_shade(share)))
        parts.append(element("text", f"{share * top:.2g}", x=x + 18, y=height - 14))
    view = f"0 0 {width:.0f} {height:.0f}"
    return element("svg", *parts, viewBox=view, role="img", aria_label=f"error of each landmark, {unit}", class_="face")


def _shade(share: float) -> str:
    return f"{0.04 + 0.96 * min(max(share, 0.0), 1.0):.2f}" if math.isfinite(share) else "1"
