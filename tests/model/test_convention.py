"""Where labels have landmarks: symmetric, smooth, the same for layouts that share points, and baked into queries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from qlot.metrics import bend
from qlot.model.config import PRESETS, QLOTConfig
from qlot.model.convention import ConventionError, as_labelled, conventions, load_convention
from qlot.model.layout import load_layout
from qlot.model.qlot import QLOT
from qlot.model.queries import Placement

NAME = "labels68"
MOVED = ("jaw", "right_brow", "left_brow", "nose")


@pytest.mark.parametrize("name", ["wflw98", "ibug68"])
def test_moves_are_mirror_symmetric(name: str) -> None:
    layout = load_layout(name)
    moves = as_labelled(layout.points, NAME) - layout.points
    np.testing.assert_allclose(moves[list(layout.mirror)] * (-1, 1, 1), moves, atol=1e-5)
    assert set(np.flatnonzero(moves.any(1))) == {i for group in MOVED for i in layout.groups[group]}


def test_a_jaw_stays_an_arc() -> None:
    layout = load_layout("wflw98")
    jaw = list(layout.groups["jaw"])
    before, after = (bend(points[None, jaw, :2])[0] for points in (layout.points, as_labelled(layout.points, NAME)))
    assert after < 1.5 * before


def test_other_layouts_and_points_stay() -> None:
    points = load_layout("mediapipe478").points
    np.testing.assert_array_equal(as_labelled(points, NAME), points)
    at, _ = load_convention(NAME)
    near = at + 0.002
    np.testing.assert_array_equal(as_labelled(near, NAME), near)


def test_the_networks_own_places_are_the_same() -> None:
    points = load_layout("wflw98").points
    found = Placement(NAME)(torch.tensor(points, dtype=torch.float32)[None])[0].numpy()
    np.testing.assert_allclose(found, as_labelled(points, NAME), atol=1e-5)
    mirrored = torch.tensor(points * (-1, 1, 1), dtype=torch.float32)[None]  # as training mirrors its queries
    np.testing.assert_allclose(Placement(NAME)(mirrored)[0].numpy() * (-1, 1, 1), found, atol=1e-5)


def test_a_network_of_a_convention_asks_where_labels_are_and_has_no_other_weights() -> None:
    plain = QLOT(replace(PRESETS["nano"], convention=""))
    model = QLOT(PRESETS["nano"])
    model.load_state_dict(plain.state_dict())
    points = load_layout("ibug68").points
    placed = torch.tensor(as_labelled(points, NAME), dtype=torch.float32)[None]
    asked = model.encode(torch.tensor(points, dtype=torch.float32)[None])
    np.testing.assert_allclose(asked.identity.detach(), plain.encode(placed).identity.detach(), atol=1e-4)
    np.testing.assert_array_equal(asked.points[0], torch.tensor(points, dtype=torch.float32))


def test_unknown_conventions_are_named() -> None:
    assert conventions() == [NAME]
    with pytest.raises(ConventionError, match=f"no convention 'people'; there are: {NAME}"):
        load_convention("people")
    with pytest.raises(ValueError, match="no convention 'people'"):
        QLOTConfig(convention="people")
