"""Motions: exact where they are prescribed, smooth and within a face's reach where they are random."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlot.training.data.synthetic.camera import Camera, project
from qlot.training.data.synthetic.motion import Blink, FaceState, Motion, Ramp, Saccade, Sine, Still, rotation_matrix
from qlot.training.data.synthetic.random_motion import RandomMotion

PAIRED = """browDown browInnerUp browOuterUp cheekPuff cheekSquint eyeBlink eyeLookDown eyeLookIn eyeLookOut eyeLookUp
    eyeSquint eyeWide mouthDimple mouthFrown mouthLowerDown mouthPress mouthSmile mouthStretch mouthUpperUp noseSneer"""
SINGLE = """jawForward jawLeft jawOpen jawRight mouthClose mouthFunnel mouthLeft mouthPucker mouthRight mouthRollLower
    mouthRollUpper mouthShrugLower mouthShrugUpper"""
NAMES = (*SINGLE.split(), *(f"{name}_{side}" for name in PAIRED.split() for side in "LR"))
angles = st.tuples(*[st.floats(-80, 80)] * 3)
POINTS = np.random.default_rng(0).normal(0, 5, (6, 3))


def shifts(motion: Motion, times: list[float]) -> np.ndarray:
    return np.array([motion(time).shift for time in times])


def test_prescribed_motions_are_their_formulas() -> None:
    times = [0.0, 0.25, 0.5, 1.25]
    start = FaceState(shift=(1.0, 2.0))
    np.testing.assert_allclose(shifts(Still(start), times), [(1, 2)] * 4)
    np.testing.assert_allclose(shifts(Ramp((10, -4), 0.25, start), times)[:, 0], [1, 1, 3.5, 11])
    sine = shifts(Sine(0.5, (4, 0), state=start), times)
    np.testing.assert_allclose(sine[:, 0], [1 + 4 * math.sin(math.pi * t) for t in times])
    np.testing.assert_allclose(sine[:, 1], 2)
    step = shifts(Saccade((8, 0), start=0.5, duration=0.04), [0.0, 0.5, 0.52, 0.54, 9.0])
    np.testing.assert_allclose(step[:, 0], [0, 0, 4, 8, 8], atol=1e-12)


def test_a_blink_closes_and_opens_in_its_time_and_moves_nothing_else() -> None:
    blink = Blink((10, 11), start=1.0, closing=0.08, closed=0.03, opening=0.14)
    lids = [blink(time).expression[[10, 11]] for time in (0.9, 1.0, 1.08, 1.11, 1.25, 2.0)]
    np.testing.assert_allclose(lids, np.array([[0, 0, 1, 1, 0, 0]] * 2).T, atol=1e-9)
    assert 0 < blink(1.04).expression[10] < 1 and 0 < blink(1.2).expression[10] < 1
    assert np.delete(blink(1.09).expression, [10, 11]).max() == 0


@given(angles)
def test_rotations_are_rotations(rotation: tuple[float, float, float]) -> None:
    turn = rotation_matrix(rotation)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_positive_angles_turn_as_documented() -> None:
    nose, top = np.array([0, 0, 10.0]), np.array([0, 10.0, 0])
    assert (rotation_matrix((20, 0, 0)) @ nose)[0] > 0  # to the right
    assert (rotation_matrix((0, 20, 0)) @ nose)[1] < 0  # down
    assert (rotation_matrix((0, 0, 20)) @ top)[0] < 0  # to the left


@given(angles, st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
def test_a_shift_moves_every_projected_point_by_itself(
    rotation: tuple[float, float, float], shift: tuple[float, float]
) -> None:
    camera = Camera(distance=50)
    still = project(POINTS, FaceState(rotation=rotation), camera, 200)
    moved = project(POINTS, FaceState(rotation=rotation, shift=shift), camera, 200)
    np.testing.assert_allclose(moved - still, np.tile(shift, (len(POINTS), 1)), atol=1e-9)


def test_the_projection_is_a_pinhole_with_pixel_centres_at_integers() -> None:
    camera = Camera(distance=40, field=20, height=0)
    axis = project(np.array([[0.0, 0, 7.552391]]), FaceState(), camera, 100)
    np.testing.assert_allclose(axis, [[49.5, 49.5]])
    # The plane through the eyes is `field` wide: its right and upper border are the picture's.
    corner = project(np.array([[10.0, 10, 7.552391]]), FaceState(), camera, 100)
    np.testing.assert_allclose(corner, [[99.5, -0.5]])
    assert np.isnan(project(np.array([[0.0, 0, 41]]), FaceState(), camera, 100)).all()  # behind the camera


@given(st.integers(0, 2**31), st.floats(0, 100))
@settings(max_examples=25)
def test_random_motion_is_repeatable_and_within_reach(seed: int, time: float) -> None:
    one, again = RandomMotion(NAMES, seed)(time), RandomMotion(NAMES, seed)(time)
    assert one.rotation == again.rotation and one.expression.tolist() == again.expression.tolist()
    assert (np.abs(one.rotation) <= (60, 35, 40)).all()
    assert one.expression.min() >= 0 and one.expression.max() <= 1
    for pair in (("eyeLookIn_L", "eyeLookOut_L"), ("eyeLookUp_R", "eyeLookDown_R"), ("jawLeft", "jawRight")):
        assert min(one.expression[NAMES.index(name)] for name in pair) == 0  # never both


@pytest.mark.parametrize("seed", range(5))
def test_a_random_head_moves_smoothly(seed: int) -> None:
    """Half the step halves the change: no jumps; and it does move."""
    motion = RandomMotion(NAMES, seed)

    def largest_change(step: float) -> float:
        turns = np.array([motion(time).rotation for time in np.arange(0, 4, step)])
        return float(np.abs(np.diff(turns, axis=0)).max())

    assert 0.001 < largest_change(1 / 100) < 3  # degrees in 10 ms
    assert largest_change(1 / 200) == pytest.approx(largest_change(1 / 100) / 2, rel=0.1)


def test_random_faces_blink_in_a_blinks_time() -> None:
    lid = NAMES.index("eyeBlink_L")
    lengths = []
    for seed in range(2):
        motion = RandomMotion(NAMES, seed, liveliness=0.0)
        closed = np.array([motion(t).expression[lid] for t in np.arange(0, 59.9, 0.02)]) > 0.5
        edges = np.flatnonzero(np.diff(np.concatenate([[0], closed, [0]])))
        if closed.mean() < 0.5:  # not one that keeps its eyes shut
            lengths += ((edges[1::2] - edges[::2]) * 0.02).tolist()
    assert len(lengths) > 12
    assert min(lengths) > 0.03 and max(lengths) < 0.2  # seconds at more than half closed; some close little further


def test_without_liveliness_the_head_is_still() -> None:
    motion = RandomMotion(NAMES, 3, liveliness=0.0)
    assert motion(0.0).rotation == motion(7.3).rotation and motion(0.0).translation == motion(7.3).translation
    lively = RandomMotion(NAMES, 3)
    assert lively(0.0).rotation != lively(7.3).rotation
