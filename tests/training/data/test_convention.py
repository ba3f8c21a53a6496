"""Where the 68 labels have jaw, brows and nose: symmetric, smooth, and the same for layouts that share points."""

from __future__ import annotations

import numpy as np
import pytest

from qlot.metrics.shape import bend
from qlot.model.layout import load_layout
from qlot.training.data.convention import GROUPS, as_labelled


@pytest.mark.parametrize("name", ["wflw98", "ibug68"])
def test_moves_are_mirror_symmetric(name: str) -> None:
    layout = load_layout(name)
    moves = as_labelled(layout) - layout.points
    np.testing.assert_allclose(moves[list(layout.mirror)] * (-1, 1, 1), moves, atol=0.01)
    named = {i for group in GROUPS for i in layout.groups.get(group, ())}
    assert set(np.flatnonzero(moves.any(1))) <= named


def test_a_jaw_stays_an_arc() -> None:
    layout = load_layout("wflw98")
    jaw = list(layout.groups["jaw"])
    before, after = (bend(points[None, jaw, :2])[0] for points in (layout.points, as_labelled(layout)))
    assert after < 1.5 * before


def test_layouts_agree_where_they_share_points() -> None:
    first, second = load_layout("wflw98"), load_layout("ibug68")
    pairs = np.argwhere(np.linalg.norm(first.points[:, None] - second.points[None], axis=-1) < 1e-6)
    np.testing.assert_allclose(as_labelled(first)[pairs[:, 0]], as_labelled(second)[pairs[:, 1]], atol=1e-9)
