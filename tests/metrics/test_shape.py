"""Open eyes, pupils and contours: known shapes, whatever their place, size and turn."""

from __future__ import annotations

import numpy as np
import pytest

from qlot.metrics.shape import aperture, bend, blink_depth, correlation, curve_distance, followed, pupil_place

RING, CORNERS, PUPIL = (0, 1, 2, 3), (0, 2), 4


def eye(opening: np.ndarray, pupil: np.ndarray, seed: int = 0) -> np.ndarray:
    """Eyes of corners one apart, a rhombus of this height, turned and scaled at random."""
    rng = np.random.default_rng(seed)
    half, zero, one = opening / 2, np.zeros_like(opening), np.ones_like(opening)
    points = np.stack([[zero, zero], [one / 2, half], [one, zero], [one / 2, -half], [pupil, zero]])  # (5, 2, T)
    angle, scale = rng.uniform(0, 6, len(opening)), rng.uniform(5, 50, len(opening))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.einsum("abt,nbt->tna", turn, points) + rng.normal(0, 99, (len(opening), 1, 2))


def test_an_eyes_aperture_and_pupil_do_not_depend_on_its_place() -> None:
    opening, pupil = np.linspace(0, 0.6, 7), np.linspace(0.3, 0.8, 7)
    np.testing.assert_allclose(aperture(eye(opening, pupil), RING, CORNERS), opening / 2, atol=1e-9)
    np.testing.assert_allclose(pupil_place(eye(opening, pupil), PUPIL, CORNERS), pupil, atol=1e-9)


def test_blink_depth() -> None:
    true = np.full(100, 0.3)
    true[40:43] = 0.02
    assert blink_depth(true, true) == pytest.approx(1)
    assert blink_depth(0.3 + 0.25 * (true - 0.3), true) == pytest.approx(0.25)
    assert blink_depth(np.full(100, 0.3), true) == pytest.approx(0)
    assert blink_depth(true, np.full(100, 0.3)) is None


def test_noise_is_no_movement() -> None:
    rng, true = np.random.default_rng(0), np.sin(np.arange(200) / 9)
    assert followed(0.4 * true + 5, true) == pytest.approx(0.4)
    assert followed(rng.normal(0, 1, 200), true) == pytest.approx(0, abs=0.2)
    assert followed(true, np.zeros(200)) is None
    assert correlation(3 * true + 1, true) == pytest.approx(1)
    assert correlation(np.zeros(200), true) is None


def test_a_saw_tooth_bends_more_than_an_arc() -> None:
    angle = np.linspace(0, np.pi, 33)
    arc = np.stack([np.cos(angle), np.sin(angle)], -1)
    assert bend(arc[None])[0] == pytest.approx(np.pi / 32, rel=0.01)
    tooth = arc + 0.05 * np.array([0, 1])[:, None].repeat(1, 1).T * (np.arange(33) % 2)[:, None]
    assert bend(np.stack([7 * arc, 7 * tooth]))[1] > 5 * bend(7 * arc[None])[0]


def test_a_points_distance_from_a_curve_is_that_of_the_nearest_piece() -> None:
    curve = np.array([[[0.0, 0], [4, 0], [4, 4]]])
    points = np.array([[[1.0, 2], [5, -1], [2, 0], [6, 3]]])
    found = curve_distance(points, curve)
    np.testing.assert_allclose(found, [[2, np.sqrt(2), 0, 2]])
