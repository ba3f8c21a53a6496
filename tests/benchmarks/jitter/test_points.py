from __future__ import annotations

import numpy as np
import pytest

from qlot.benchmarks.jitter.points import FIRST_INNER, IBUG_TO_MESH, TRUE_LIDS, point_set
from qlot.model.layout import load_layout
from qlot.training.data.clip import DataError


def test_the_correspondence_is_the_same_on_both_sides_of_the_face() -> None:
    ibug, mesh = load_layout("ibug68"), load_layout("mediapipe478")
    assert len(set(IBUG_TO_MESH.tolist())) == 68 - FIRST_INNER
    for i in range(FIRST_INNER, 68):
        assert mesh.mirror[IBUG_TO_MESH[i - FIRST_INNER]] == IBUG_TO_MESH[ibug.mirror[i] - FIRST_INNER]


def test_corresponding_points_lie_near_each_other_on_the_face() -> None:
    ibug, mesh = np.array(load_layout("ibug68").points), np.array(load_layout("mediapipe478").points)
    eyes = np.linalg.norm(ibug[45] - ibug[36])
    apart = np.linalg.norm(mesh[IBUG_TO_MESH] - ibug[FIRST_INNER:], axis=1) / eyes
    assert apart.max() < 0.13  # the outer end of a brow; conventions differ
    assert np.median(apart) < 0.04
    assert np.median(np.linalg.norm(mesh[IBUG_TO_MESH[::-1]] - ibug[FIRST_INNER:], axis=1) / eyes) > 0.3


@pytest.mark.parametrize("layout", ["ibug68", "mediapipe478"])
def test_eyes_and_lids_are_where_the_layout_has_them(layout: str) -> None:
    points, own = point_set(layout), load_layout(layout)
    assert tuple(points.layout[list(points.outer_eyes)]) == own.outer_eyes
    compared = np.array(own.points)[points.layout]
    true = np.array(load_layout("ibug68").points)
    assert len(points.lids) == len(TRUE_LIDS)
    for lids, wanted in zip(points.lids, TRUE_LIDS, strict=True):
        assert compared[lids[0], 1] > compared[lids[1], 1]  # the upper one is above
        assert np.linalg.norm(compared[list(lids)] - true[list(wanted)], axis=1).max() < 0.1


def test_another_layout_is_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match="--layout mediapipe478"):
        point_set("wflw98")
