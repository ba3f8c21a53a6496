from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlot.runtime.media.drawing import (
    CERTAIN,
    CHI2_95,
    GREEN,
    UNCERTAIN,
    YELLOW,
    draw,
    ellipse_95,
    relative_sigma,
    sigma_color,
    status_text,
)
from qlot.runtime.tracking.orientation import Orientation
from qlot.runtime.tracking.result import Status
from tests.runtime.layouts import LAYOUT, POINTS, answer

PLAIN = LAYOUT.model_copy(update={"edges": ()})
FRAME = np.full((100, 120, 3), 40, np.uint8)


def changed(out: np.ndarray, frame: np.ndarray = FRAME) -> np.ndarray:
    """(H, W) how much each pixel was changed."""
    return np.abs(out.astype(int) - frame).sum(-1)


def centroid(weights: np.ndarray) -> np.ndarray:
    y, x = np.indices(weights.shape)
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


@st.composite
def covariances(draw: st.DrawFn) -> np.ndarray:
    sx, sy = draw(st.floats(0.2, 20)), draw(st.floats(0.2, 20))
    cross = draw(st.floats(-0.95, 0.95)) * sx * sy
    return np.array([[sx * sx, cross], [cross, sy * sy]])


def test_the_frame_itself_stays_untouched() -> None:
    frame = FRAME.copy()
    out = draw(frame, answer(), LAYOUT, ellipses=True, crop=True)
    assert np.array_equal(frame, FRAME)
    assert out.shape == FRAME.shape and out.dtype == np.uint8 and not np.shares_memory(out, frame)
    assert changed(out).any()


def test_without_a_face_only_the_status_line_is_drawn() -> None:
    missing = answer(points=None)
    assert np.array_equal(draw(FRAME, missing, LAYOUT, ellipses=True, status_line=False), FRAME)
    rows = changed(draw(FRAME, missing, LAYOUT)).any(axis=1)
    assert rows[-1] and not rows[:80].any()


@settings(max_examples=30)
@given(st.floats(30, 560), st.floats(30, 560))
def test_landmarks_are_drawn_between_pixels(x: float, y: float) -> None:
    """OpenCV places a disc of this size to about 0.1 px; whole pixels would be off by up to 0.5."""
    frame = np.zeros((600, 600, 3), np.uint8)
    points = np.array([[x, y], [-900, -900], [-900, 900], [900, -900]])
    drawn = changed(draw(frame, answer(points=points), PLAIN, status_line=False), frame)
    assert centroid(drawn) == pytest.approx([x, y], abs=0.2)


def test_color_tells_the_uncertainty() -> None:
    """One landmark is twice as uncertain as the scale's end, the others are sure."""
    result = answer(sigma=0.1)
    assert result.covariances is not None
    uncertain = result.covariances.copy()
    uncertain[3] *= 80**2
    out = draw(FRAME, replace(result, covariances=uncertain), PLAIN, status_line=False)
    assert tuple(out[75, 60]) == YELLOW
    assert tuple(out[30, 40]) == tuple(out[50, 60]) == GREEN


@given(st.floats(0, 0.2), st.floats(0, 0.2))
def test_color_scale(a: float, b: float) -> None:
    assert sigma_color(CERTAIN / 2) == GREEN and sigma_color(2 * UNCERTAIN) == YELLOW
    small, large = sorted([a, b])
    assert sigma_color(small)[0] <= sigma_color(large)[0], "red rises with uncertainty"


@given(st.floats(0.1, 10), st.floats(-50, 50), covariances())
def test_relative_sigma_does_not_depend_on_size_or_place(scale: float, shift: float, covariance: np.ndarray) -> None:
    spread = np.tile(covariance, (4, 1, 1))
    expected = relative_sigma(POINTS, spread)
    assert relative_sigma(POINTS * scale + shift, spread * scale**2) == pytest.approx(expected)
    assert expected[0] ** 4 * (40 * 45) ** 2 == pytest.approx(np.linalg.det(covariance))


@given(covariances(), st.floats(0, 2 * np.pi))
def test_ellipse_holds_95_percent(covariance: np.ndarray, t: float) -> None:
    """Each of its points has the Mahalanobis distance within which 95 % of a normal distribution lie."""
    long, short, angle = ellipse_95(covariance)
    assert long >= short > 0
    turn = np.radians(angle)
    point = long * np.cos(t) * np.array([np.cos(turn), np.sin(turn)])
    point += short * np.sin(t) * np.array([-np.sin(turn), np.cos(turn)])
    assert point @ np.linalg.solve(covariance, point) == pytest.approx(CHI2_95)


def test_95_percent() -> None:
    """The quantile's closed form for two degrees of freedom."""
    assert pytest.approx(-2 * np.log(0.05), abs=1e-3) == CHI2_95


def test_ellipse_is_drawn_where_it_belongs() -> None:
    result = answer(points=np.array([[60.0, 50.0]] * 4))
    spread = np.tile(np.array([[64.0, 0.0], [0.0, 9.0]], np.float32), (4, 1, 1))
    result = replace(result, covariances=spread)
    plain = draw(FRAME, result, PLAIN, status_line=False)
    drawn = changed(draw(FRAME, result, PLAIN, ellipses=True, status_line=False), plain) > 60
    y, x = np.nonzero(drawn)
    half = np.sqrt(CHI2_95) * np.array([8, 3])
    assert [x.min(), x.max()] == pytest.approx([60 - half[0], 60 + half[0]], abs=1.6)
    assert [y.min(), y.max()] == pytest.approx([50 - half[1], 50 + half[1]], abs=1.6)
    assert not drawn[50, 60]


def test_edges_connect_landmarks() -> None:
    middle = (40, 50)  # between the left eye and the nose
    assert changed(draw(FRAME, answer(), LAYOUT, status_line=False))[middle] > 100
    assert changed(draw(FRAME, answer(), PLAIN, status_line=False))[middle] == 0


@pytest.mark.parametrize(
    ("orientation", "box"),
    [
        (Orientation(), (25, 15, 95, 85)),
        (Orientation(90), (15, 4, 85, 74)),  # upright is 100 wide: passed x = upright y, y = 99 - upright x
        (Orientation(0, mirrored=True), (24, 15, 94, 85)),  # x = 119 - upright x
    ],
)
def test_crop_rectangle(orientation: Orientation, box: tuple[int, int, int, int]) -> None:
    out = draw(FRAME, answer(points=None), LAYOUT, crop=True, status_line=False, orientation=orientation)
    y, x = np.nonzero(changed(out) > 100)
    assert (x.min(), y.min(), x.max(), y.max()) == pytest.approx(box, abs=1)
    assert not changed(out)[50, 60]


def test_landmarks_outside_the_frame_do_no_harm() -> None:
    out = draw(
        FRAME,
        answer(points=np.array([[-1e4, 50], [1e9, 1e9], [60, -80], [300, 300.0]]), sigma=1e4),
        LAYOUT,
        ellipses=True,
    )
    assert out.shape == FRAME.shape


@pytest.mark.parametrize("shape", [(8, 8), (40, 30), (30, 400), (1080, 1920)])
def test_the_status_line_fits_any_frame(shape: tuple[int, int]) -> None:
    frame = np.full((*shape, 3), 40, np.uint8)
    written = changed(draw(frame, answer(points=None), LAYOUT), frame) > 200
    assert not written[:, -max(1, shape[1] // 100) :].any(), "no text beyond the right border"


def test_status_text() -> None:
    assert status_text(answer()) == "tracking  confidence 0.90  1 it  3.6 ms"
    assert (
        status_text(replace(answer(points=None, status=Status.LOST), milliseconds={})) == "lost  confidence 0.90  1 it"
    )
