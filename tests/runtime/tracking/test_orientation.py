"""Turned and mirrored frames: the pixel under a mapped point is the same pixel, and covariances turn with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.runtime.errors import FrameError
from qlot.runtime.tracking.orientation import Orientation

ALL = [Orientation(r, m) for r in (0, 90, 180, 270) for m in (False, True)]
orientations = st.sampled_from(ALL)


@given(orientations, st.integers(8, 13), st.integers(8, 13))
def test_every_upright_pixel_maps_onto_itself(orientation: Orientation, height: int, width: int) -> None:
    passed = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    upright = orientation.upright(passed)
    y, x = np.mgrid[: upright.shape[0], : upright.shape[1]]
    back = orientation.points_back(np.stack([x, y], -1).astype(float), width, height)
    at = back.astype(int)
    assert (at == back).all()
    np.testing.assert_array_equal(passed[at[..., 1], at[..., 0]], upright)


@given(orientations, st.lists(st.tuples(st.floats(-50, 400), st.floats(-50, 400)), min_size=1, max_size=5))
def test_points_survive_the_round_trip(orientation: Orientation, points: list[tuple[float, float]]) -> None:
    there = orientation.points_upright(np.array(points), 320, 240)
    np.testing.assert_allclose(orientation.points_back(there, 320, 240), points, atol=1e-9)


@given(orientations, st.floats(-0.99, 0.99), st.floats(0.1, 50), st.floats(0.1, 50))
def test_covariances_turn_with_the_points(orientation: Orientation, rho: float, sx: float, sy: float) -> None:
    covariance = np.array([[sx * sx, rho * sx * sy], [rho * sx * sy, sy * sy]])
    back = orientation.covariances_back(covariance[None])[0]
    np.testing.assert_array_equal(back, back.T)
    np.testing.assert_allclose(np.linalg.eigvalsh(back), np.linalg.eigvalsh(covariance), rtol=1e-6)
    one, other = np.array([3.0, -2.0]), np.array([1.0, 4.0])
    step = orientation.points_back(one, 320, 240) - orientation.points_back(other, 320, 240)
    assert step @ np.linalg.solve(back, step) == pytest.approx(
        (one - other) @ np.linalg.solve(covariance, one - other), rel=1e-6
    )


def test_clockwise_in_words() -> None:
    """A frame that must be turned clockwise by 90: its lower left corner becomes the upper left one."""
    passed = np.zeros((20, 30, 3), np.uint8)
    passed[-1, 0] = 255
    assert Orientation(90).upright(passed)[0, 0].all()
    assert Orientation(270).upright(passed)[-1, -1].all()
    assert Orientation(180).upright(passed)[0, -1].all()


def test_mirror_comes_before_the_turn() -> None:
    passed = np.zeros((20, 30, 3), np.uint8)
    passed[-1, -1] = 255  # un-mirrored: lower left; turned by 90: upper left. The other order: lower right.
    assert Orientation(90, mirrored=True).upright(passed)[0, 0].all()
    assert Orientation(mirrored=True).upright(passed)[-1, 0].all()


@pytest.mark.parametrize("orientation", ALL)
def test_upright_is_a_view(orientation: Orientation) -> None:
    passed = np.zeros((20, 30, 3), np.uint8)
    assert np.shares_memory(orientation.upright(passed), passed)


@pytest.mark.parametrize("rotation", [45, -90, 360, 90.5, "90"])
def test_other_rotations_are_refused(rotation: int) -> None:
    with pytest.raises(FrameError, match="0, 90, 180 or 270"):
        Orientation(rotation)
