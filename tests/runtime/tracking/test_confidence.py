"""The confidence: its formula, its independence of the face's size, and no number that breaks it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.runtime.bundle.manifest import ConfidenceSpec
from qlot.runtime.geometry import FloatArray
from qlot.runtime.tracking.confidence import confidence, log_spread, logistic
from qlot.runtime.tracking.crop import fit_crop

SPEC = ConfidenceSpec(bias=-17.0, w_spread=-7.0, found=0.8, lost=0.3, calibration="none: a test")
POINTS = np.random.default_rng(2).uniform(-1, 1, (20, 3))


def face(scale: float, sigma: float) -> FloatArray:
    """Landmarks right on the canonical face, each with sigma (canonical units) times a spread of factors around 1."""
    out = np.zeros((1, 20, 7), np.float32)
    out[0, :, :2] = POINTS[:, :2] * (scale, -scale) + 64
    out[0, :, 2:4] = np.log(scale * sigma) + np.linspace(-1, 1, 40).reshape(20, 2)
    return out


def test_formula_by_hand() -> None:
    landmarks = face(50.0, 0.08)
    fit = fit_crop(POINTS, landmarks[0, :, :2])
    assert log_spread(landmarks, fit) == pytest.approx(math.log(0.08), abs=1e-5)
    assert confidence(landmarks, fit, SPEC) == pytest.approx(1 / (1 + math.exp(17 + 7 * math.log(0.08))), abs=1e-5)


@given(st.floats(5, 500), st.floats(0.01, 2))
def test_the_size_of_the_face_does_not_matter(scale: float, sigma: float) -> None:
    def sure(landmarks: FloatArray) -> float:
        return confidence(landmarks, fit_crop(POINTS, landmarks[0, :, :2]), SPEC)

    assert sure(face(scale, sigma)) == pytest.approx(sure(face(50, sigma)), abs=1e-3)
    assert sure(face(scale, sigma)) >= sure(face(scale, sigma * 1.1))


@pytest.mark.parametrize("column", range(7))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_face(column: int, value: float) -> None:
    landmarks = face(50.0, 0.02)
    assert confidence(landmarks, fit_crop(POINTS, landmarks[0, :, :2]), SPEC) > 0.99
    landmarks[0, 3, column] = value
    with np.errstate(invalid="ignore"):
        assert confidence(landmarks, fit_crop(POINTS, landmarks[0, :, :2]), SPEC) == 0


def test_a_fit_without_scale_is_no_face() -> None:
    for squeezed in (face(50.0, 0.02) * np.float32([0, 0, 1, 1, 1, 1, 1]), face(-50.0, -0.02)):
        assert confidence(squeezed, fit_crop(POINTS, squeezed[0, :, :2]), SPEC) == 0


@given(st.floats(-1e308, 1e308))
def test_logistic_is_safe_and_symmetric(z: float) -> None:
    assert 0 <= logistic(z) <= 1
    assert logistic(z) + logistic(-z) == pytest.approx(1)
