"""Labels between a teacher's points: exact where the face is the canonical one, smooth where it is another."""

from __future__ import annotations

import numpy as np
import pytest

from qlot.model.convention import as_labelled
from qlot.model.layout import load_layout
from qlot.training.data.interpolation import CONVENTION, Interpolation

TEACHER = load_layout("mediapipe478")
GROUPS = ("jaw", "right_brow", "left_brow", "nose")  # these lie beside the teacher's lines


def seen(points: np.ndarray, seed: int) -> np.ndarray:
    """Points of the canonical face in a picture, turned, scaled and shifted at random."""
    rng = np.random.default_rng(seed)
    pose = np.array([[80.0, 0], [0, -80], [0, 0]]) + rng.normal(0, 20, (3, 2))
    return points @ pose + rng.uniform(50, 150, 2)


@pytest.mark.parametrize("name", ["wflw98", "ibug68", "eyes"])
@pytest.mark.parametrize("seed", range(3))
def test_on_the_canonical_face_what_lies_beside_lines_is_exact(name: str, seed: int) -> None:
    layout = load_layout(name)
    found = Interpolation.between(TEACHER, layout)(seen(TEACHER.points, seed)[None])[0]
    beside = [i for group in GROUPS for i in layout.groups.get(group, ())]
    np.testing.assert_allclose(found[beside], seen(as_labelled(layout.points, CONVENTION), seed)[beside], atol=1e-6)


@pytest.mark.parametrize("name", ["wflw98", "ibug68"])
def test_corners_of_eyes_and_mouths_are_the_teachers(name: str) -> None:
    layout, landmarks = load_layout(name), np.random.default_rng(0).normal(100, 30, (1, 478, 2))
    found = Interpolation.between(TEACHER, layout)(landmarks)[0]
    for group, corners in (("right_eye", (33, 133)), ("left_eye", (362, 263)), ("outer_lips", (61, 291))):
        ring = sorted(layout.groups[group], key=lambda i: layout.points[i, 0])
        np.testing.assert_array_equal(found[[ring[0], ring[-1]]], landmarks[0, list(corners)])


def test_a_lower_lip_is_not_taken_for_the_inner_one() -> None:
    layout = load_layout("ibug68")
    between = Interpolation.between(TEACHER, layout)
    assert np.isin(between.ends[list(layout.groups["outer_lips"])], TEACHER.groups["outer_lips"]).all()


def test_the_teachers_own_points_are_its_labels() -> None:
    landmarks = np.random.default_rng(0).normal(100, 30, (2, 478, 2))
    shared = [461, 472]  # they have the places of 250 and 145
    found = Interpolation.between(TEACHER, TEACHER)(landmarks)
    np.testing.assert_allclose(np.delete(found, shared, 1), np.delete(landmarks, shared, 1), atol=1e-9)


def test_a_point_follows_its_line_and_not_the_pose_alone() -> None:
    """A mouth that opens takes the lip's points of every layout with it."""
    layout = load_layout("wflw98")
    lower = next(i for i, name in enumerate(layout.names) if name == layout.names[max(layout.groups["outer_lips"])])
    rest = seen(TEACHER.points, 0)
    moved = rest.copy()
    lips = [i for name in ("outer_lips", "inner_lips") for i in TEACHER.groups[name]]
    moved[lips] += (0, 7)
    before, after = Interpolation.between(TEACHER, layout)(np.stack([rest, moved]))
    assert after[lower, 1] - before[lower, 1] == pytest.approx(7, abs=1)
    outline = list(layout.groups["jaw"])
    assert np.abs(after[outline] - before[outline]).max() < 1


def test_layouts_agree_where_they_share_points() -> None:
    landmarks = seen(TEACHER.points, 1)[None] + np.random.default_rng(1).normal(0, 2, (1, 478, 2))
    first, second = load_layout("wflw98"), load_layout("ibug68")
    apart = np.linalg.norm(first.points[:, None] - second.points[None], axis=-1)
    pairs = np.argwhere(apart < 1e-6)
    assert len(pairs) > 20
    a, b = (Interpolation.between(TEACHER, layout)(landmarks)[0] for layout in (first, second))
    np.testing.assert_allclose(a[pairs[:, 0]], b[pairs[:, 1]], atol=1e-9)


def test_what_the_teacher_lacks_is_not_a_number() -> None:
    landmarks = seen(TEACHER.points, 0)[None].repeat(2, 0)
    landmarks[1] = np.nan
    found = Interpolation.between(TEACHER, load_layout("wflw98"))(landmarks)
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()
