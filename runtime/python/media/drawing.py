"""Draw a frame's answer onto a copy of the frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.media.video import Image
from qlot.runtime.tracking.orientation import Orientation
from qlot.runtime.tracking.result import TrackResult

Color = tuple[int, int, int]
Points = NDArray[np.float64]

CERTAIN, UNCERTAIN = 0.01, 0.04  # sigma over face size at which a landmark is drawn fully green and fully yellow
CHI2_95 = 5.991  # 95 % quantile of the chi-square distribution with 2 degrees of freedom
GREEN, YELLOW, EDGE, BOX, TEXT = (0, 210, 0), (255, 225, 0), (190, 225, 255), (110, 170, 255), (255, 255, 255)
SHIFT = 4  # OpenCV takes integers with this many fractional bits


def draw(
    rgb: Image,
    result: TrackResult,
    layout: LayoutSpec,
    *,
    ellipses: bool = False,
    crop: bool = False,
    status_line: bool = True,
    orientation: Orientation | None = None,
) -> Image:
    """Return a copy of a frame (H, W, 3) with landmarks, edges and a status line.

    A landmark's colour goes from green to yellow with its standard deviation (`relative_sigma`), from 1 % to 4 % of the
    face size.

    Args:
        rgb: the frame that was handed to the tracker.
        result: the tracker's answer.
        layout: its edges are drawn.
        ellipses: draw the 95 % ellipse of each landmark.
        crop: draw the square the network looked at.
        status_line: write status, confidence, iterations and time of the frame below.
        orientation: the tracker's, needed to place the crop of a turned or mirrored frame.
    """
    out = rgb.copy()
    if crop and result.crop is not None:
        corners = _corners(result.crop)
        if orientation is not None:
            corners = orientation.points_back(corners, rgb.shape[1], rgb.shape[0])
        cv2.polylines(out, [_fixed(corners)], True, BOX, 1, cv2.LINE_AA, SHIFT)
    if result.landmarks is not None and result.covariances is not None:
        points = result.landmarks.astype(np.float64)
        covariances = result.covariances.astype(np.float64)
        size = min(face_size(points), max(rgb.shape[:2]))
        thickness = 1 + round(size / 500)
        for a, b in layout.edges:
            start, end = _fixed(points[[a, b]]).tolist()
            cv2.line(out, start, end, EDGE, thickness, cv2.LINE_AA, SHIFT)
        colors = [sigma_color(s) for s in relative_sigma(points, covariances)]
        if ellipses:
            for point, covariance, color in zip(points, covariances, colors, strict=True):
                _ellipse(out, point, covariance, color, thickness)
        radius = _fixed(np.maximum(1.2, size / 110))
        for center, color in zip(_fixed(points).tolist(), colors, strict=True):
            cv2.circle(out, center, int(radius), color, cv2.FILLED, cv2.LINE_AA, SHIFT)
    if status_line:
        _write(out, status_text(result))
    return out


def face_size(points: Points) -> float:
    """Return sqrt(width height) of the box around landmarks (N, 2)."""
    return float(np.sqrt(np.prod(np.ptp(points, axis=0))))


def relative_sigma(points: Points, covariances: Points) -> Points:
    """Return (N,) standard deviations det(covariance)^(1/4) over the face size; covariances (N, 2, 2)."""
    return np.sqrt(np.sqrt(np.maximum(np.linalg.det(covariances), 0))) / max(face_size(points), 1e-6)


def sigma_color(sigma: float) -> Color:
    """Return the RGB colour of a standard deviation given as a share of the face size."""
    t = float(np.clip((sigma - CERTAIN) / (UNCERTAIN - CERTAIN), 0, 1))
    red, green, blue = (round(a + t * (b - a)) for a, b in zip(GREEN, YELLOW, strict=True))
    return red, green, blue


def ellipse_95(covariance: Points) -> tuple[float, float, float]:
    """Return half axes (long, short) in pixels and angle of the long one (degrees from x to y) of the 95 % ellipse."""
    values, vectors = np.linalg.eigh(covariance)
    short, long = np.sqrt(np.maximum(values, 0) * CHI2_95)
    return float(long), float(short), float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))


def status_text(result: TrackResult) -> str:
    """Return the words of the status line."""
    parts = [str(result.status), f"confidence {result.confidence:.2f}", f"{result.iterations} it"]
    if "total" in result.milliseconds:
        parts.append(f"{result.milliseconds['total']:.1f} ms")
    return "  ".join(parts)


def _ellipse(out: Image, point: Points, covariance: Points, color: Color, thickness: int) -> None:
    long, short, angle = ellipse_95(covariance)
    center, axes = _fixed(point).tolist(), _fixed(np.array([long, short])).tolist()
    cv2.ellipse(out, center, axes, angle, 0, 360, color, thickness, cv2.LINE_AA, SHIFT)


def _fixed(values: Points) -> NDArray[np.int32]:
    return np.rint(np.clip(values, -1e6, 1e6) * 2**SHIFT).astype(np.int32)


def _corners(crop: CropBox) -> Points:
    half = crop.side / 2
    return np.array([crop.center_x, crop.center_y]) + half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])


def _write(out: Image, text: str) -> None:
    height, width = out.shape[:2]
    font = cv2.FONT_HERSHEY_SIMPLEX
    (natural, _), _ = cv2.getTextSize(text, font, 1, 1)
    scale = min(max(0.4, height / 900), 0.96 * width / natural)
    (_, tall), below = cv2.getTextSize(text, font, scale, 1)
    strip = out[max(0, height - tall - below - 4) :]
    strip[:] = strip // 3
    cv2.putText(out, text, (round(0.02 * width), height - below - 1), font, scale, TEXT, 1, cv2.LINE_AA)
