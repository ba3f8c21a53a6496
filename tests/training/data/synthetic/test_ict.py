"""The morphable face: linear where it says so, gaze that turns eyeballs, canonical points as the layouts have them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.training.data.clip import DataError
from qlot.training.data.synthetic import ict
from qlot.training.data.synthetic.ict import FaceModel, expression_weights, sphere_centre

NONE = np.zeros(ict.IDENTITIES)


def test_a_subset_of_vertices_is_that_part_of_all(ict_model: FaceModel) -> None:
    rng = np.random.default_rng(0)
    identity, expression = rng.normal(0, 1, 100), rng.random(53)
    rows = np.array([5, 1225, 21500, 23100, 26718, 0])  # of face, both eyeballs and lashes, in no order
    whole = ict_model.vertices(identity, expression)
    np.testing.assert_allclose(ict_model.vertices(identity, expression, rows), whole[rows], atol=1e-5)


def test_many_expressions_at_once_are_each_of_them(ict_model: FaceModel) -> None:
    person = ict_model.person(np.random.default_rng(1).normal(0, 1, 100), np.array([3, 21460, 24000]))
    expressions = np.random.default_rng(2).random((4, 53))
    together = person.positions(expressions)
    np.testing.assert_allclose(together, [person.positions(e) for e in expressions], atol=1e-5)


def test_nothing_added_is_the_neutral_face(ict_model: FaceModel) -> None:
    np.testing.assert_allclose(ict_model.vertices(NONE, np.zeros(53)), ict_model.neutral, atol=1e-9)


@pytest.mark.parametrize(
    ("names", "axis", "sign"),
    [
        ({"eyeLookUp_L": 1.0}, 1, 1),
        ({"eyeLookDown_L": 1.0}, 1, -1),
        ({"eyeLookOut_L": 1.0}, 0, 1),  # the left eye lies at +x
        ({"eyeLookIn_L": 1.0}, 0, -1),
    ],
)
def test_gaze_turns_the_left_eyeball_and_only_it(
    ict_model: FaceModel, names: dict[str, float], axis: int, sign: int
) -> None:
    left, right = ict.EYEBALLS
    pupil = left.start + int(ict_model.neutral[left, 2].argmax())
    rows = np.array([pupil, right.start, right.start + 700])
    before = ict_model.neutral[rows]
    after = ict_model.vertices(NONE, ict_model.weights(**names), rows)
    assert sign * (after - before)[0, axis] > 0.4  # cm
    centre = sphere_centre(ict_model.neutral[left])
    assert np.linalg.norm(after[0] - centre) == pytest.approx(np.linalg.norm(before[0] - centre), abs=1e-5)
    np.testing.assert_allclose(after[1:], before[1:], atol=1e-5)


def test_canonical_points_are_those_of_the_published_frame(ict_model: FaceModel, shared: Path) -> None:
    """FaceMesh's layout names vertices of this mesh: the same frame to rounding."""
    layout = json.loads((shared / "data" / "layouts" / "mediapipe478.json").read_text())
    made = ict_model.canonical(np.array(layout["ict_vertex"]))
    np.testing.assert_allclose(made, layout["points"], atol=2e-6)


def test_the_68_vertices_lie_near_the_published_68_points(ict_model: FaceModel, shared: Path) -> None:
    """Near, not on: brows and jaw follow another convention, the jaw's upper ends by a quarter of the face."""
    layout = np.array(json.loads((shared / "data" / "layouts" / "ibug68.json").read_text())["points"])
    away = np.linalg.norm(ict_model.canonical(ict_model.lm68) - layout, axis=1)
    assert away[17:].mean() < 0.05 and away[17:].max() < 0.1
    assert away[:17].max() < 0.27
    wrong = np.linalg.norm(ict_model.canonical(ict_model.lm68[::-1]) - layout, axis=1)
    assert wrong[17:].mean() > 0.3  # the test can tell an order from another


@given(st.tuples(*[st.floats(-9, 9)] * 3), st.floats(0.5, 5))
def test_the_centre_of_part_of_a_sphere(centre: tuple[float, float, float], radius: float) -> None:
    directions = np.random.default_rng(0).normal(size=(60, 3))
    directions[:, 2] = np.abs(directions[:, 2])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(sphere_centre(np.array(centre) + radius * directions), centre, atol=1e-6)


def test_names_without_a_side_set_both_and_unknown_ones_are_refused() -> None:
    names = ("jawOpen", "mouthSmile_L", "mouthSmile_R")
    assert expression_weights(names, mouthSmile=0.5, jawOpen=1.0).tolist() == [1.0, 0.5, 0.5]
    assert expression_weights(names, mouthSmile_R=0.5).tolist() == [0.0, 0.0, 0.5]
    with pytest.raises(ValueError, match="mouthSmirk"):
        expression_weights(names, mouthSmirk=1.0)


def test_what_is_not_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        FaceModel.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(DataError, match=r"text\.npz: not a readable"):
        FaceModel.load(tmp_path / "text.npz")
    np.savez(tmp_path / "part.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"part\.npz: not a readable"):
        FaceModel.load(tmp_path / "part.npz")
    small = {"neutral": np.zeros((4, 3)), "faces": np.zeros((1, 3), int), "identity": np.zeros((100, 4, 3))}
    more = {"expression": np.zeros((53, 4, 3)), "expression_names": np.array(["a"] * 53), "lm68": np.zeros(68, int)}
    np.savez(tmp_path / "small.npz", **small, **more)
    with pytest.raises(DataError, match="26719 vertices"):
        FaceModel.load(tmp_path / "small.npz")
