from __future__ import annotations

import numpy as np
import pytest

from qlot.metrics import (
    area_under_curve,
    areas,
    coverage,
    face_size,
    failure_rate,
    failures,
    interocular,
    longest_run,
    mahalanobis_squared,
    nad,
    nad_curve,
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


def test_landmarks_that_are_not_valid_count_for_nothing() -> None:
    labels = np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 8.0], [np.nan, np.nan]])
    predictions = np.array([[3.0, 4.0], [10.0, 0.0], [5.0, 8.0], [7.0, 7.0]])
    valid = np.array([True, True, True, False])
    assert nme(predictions, labels, interocular(labels, (0, 1), valid), valid) == pytest.approx(5 / 3 / 10)
    assert face_size(labels, valid) == pytest.approx(np.sqrt(80))
    assert np.isnan(interocular(labels, (0, 3), valid))
    nothing = np.zeros(4, np.bool_)
    assert np.isnan(nme(predictions, labels, np.float64(1), nothing)) and np.isnan(face_size(labels, nothing))


def test_masks_that_hold_everywhere_change_nothing() -> None:
    random = np.random.default_rng(3)
    labels, predictions = random.normal(size=(2, 7, 5, 2))
    valid = np.ones((7, 5), np.bool_)
    np.testing.assert_allclose(face_size(labels, valid), face_size(labels))
    size = face_size(labels)
    np.testing.assert_allclose(nme(predictions, labels, size, valid), nme(predictions, labels, size))


def test_failure_rate_and_area_are_means_of_their_parts() -> None:
    errors = np.array([0.0, 0.05, 0.10, 0.20])
    np.testing.assert_array_equal(failures(errors), [0, 0, 0, 1])
    np.testing.assert_allclose(areas(errors), [1, 0.5, 0, 0])


def test_nad_curve_is_nad_where_two_blocks_fit() -> None:
    errors = np.random.default_rng(4).normal(size=(10, 3, 2))
    curve = nad_curve(errors, 2.0, (1, 5, 6))
    np.testing.assert_allclose(curve, [nad(errors, 2.0, 1), nad(errors, 2.0, 5), np.nan])


@pytest.mark.parametrize(
    ("present", "run"),
    [([0, 1, 1, 0, 1, 1, 1], (4, 7)), ([1, 1, 0, 1, 1], (0, 2)), ([1, 1], (0, 2)), ([0, 0], (0, 0)), ([], (0, 0))],
)
def test_longest_run(present: list[int], run: tuple[int, int]) -> None:
    found = longest_run(np.array(present, np.bool_))
    assert (found.start, found.stop) == run
