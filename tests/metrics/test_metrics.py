from __future__ import annotations

import numpy as np
import pytest

from qlot.metrics import (
    area_under_curve,
    coverage,
    face_size,
    failure_rate,
    interocular,
    mahalanobis_squared,
    nad,
    nme,
    nmf,
    second_difference,
)


def test_nme_of_a_shift_is_its_length_over_the_normaliser() -> None:
    labels = np.array([[[0.0, 0.0], [10.0, 0.0], [5.0, 8.0]]] * 2)
    predictions = labels + np.array([3.0, 4.0])
    np.testing.assert_allclose(nme(predictions, labels, interocular(labels, (0, 1))), 0.5)
    np.testing.assert_allclose(nme(predictions, labels, face_size(labels)), 5 / np.sqrt(80))


def test_failure_rate_and_area_of_known_errors() -> None:
    errors = np.array([0.0, 0.05, 0.10, 0.20])
    assert failure_rate(errors) == 0.25
    assert area_under_curve(errors) == pytest.approx((1 + 0.5 + 0 + 0) / 4)


def test_flicker_of_white_noise_is_sqrt_two_times_its_allan_deviation() -> None:
    errors = np.random.default_rng(0).normal(size=(40_000, 1, 2))
    flicker = nmf(errors, 128.0)
    assert flicker == pytest.approx(100 * 2 * np.sqrt(2 * 2), rel=0.02)  # 256/128, two axes, difference of two
    assert flicker == pytest.approx(25600 * np.sqrt(2) * nad(errors, 128.0, 1), rel=1e-3)


def test_allan_deviation_of_white_noise_falls_with_the_root_of_the_block() -> None:
    errors = np.random.default_rng(1).normal(size=(40_000, 1, 2))
    assert nad(errors, 1.0, 1) / nad(errors, 1.0, 16) == pytest.approx(4, rel=0.05)
    with pytest.raises(ValueError, match="two blocks"):
        nad(errors[:10], 1.0, 6)


def test_a_constant_error_and_a_steady_motion_do_not_flicker() -> None:
    still = np.full((10, 3, 2), 4.0)
    ramp = np.arange(10.0)[:, None, None] * np.ones((1, 3, 2))
    assert nmf(still, 100.0) == 0
    assert second_difference(ramp, 10.0) == pytest.approx(0, abs=1e-12)
    jump = ramp.copy()
    jump[5] += 1
    assert second_difference(jump, 10.0) == pytest.approx(np.sqrt((1 + 4 + 1) * 2 / 8) / 10)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_ellipses_of_the_true_covariance_hold_their_share(level: float) -> None:
    covariance = np.array([[4.0, 1.5], [1.5, 1.0]])
    errors = np.random.default_rng(2).multivariate_normal([0, 0], covariance, 50_000)
    assert coverage(errors, covariance, level) == pytest.approx(level, abs=0.01)
    assert coverage(2 * errors, covariance, level) < level - 0.05
    assert mahalanobis_squared(np.array([2.0, 0.0]), np.diag([4.0, 1.0])) == pytest.approx(1)
