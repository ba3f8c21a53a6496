"""What a labelled picture tells of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.model.layout import load_layout
from qlot.training.data.sources.conditions import conditions, turn

LAYOUT = load_layout("ibug68")


def seen(yaw: float, pitch: float = 0.0, roll: float = 0.0, scale: float = 40.0) -> np.ndarray:
    """Canonical points as an orthographic camera sees them, in pixels, y down."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    points = np.array(LAYOUT.points) @ (about_z @ about_x @ about_y).T
    return points[:, :2] * (scale, -scale) + 100


@given(st.floats(-60, 60), st.floats(-40, 40), st.floats(5, 100))
def test_the_turn_is_that_of_the_head(yaw: float, roll: float, scale: float) -> None:
    assert turn(seen(yaw, scale=scale), LAYOUT) == pytest.approx(abs(yaw), abs=1e-6)
    nodding = seen(0, pitch=25, roll=roll)
    assert turn(nodding, LAYOUT) < turn(seen(35), LAYOUT)


def test_jaw_labels_do_not_count() -> None:
    landmarks = seen(30)
    landmarks[list(LAYOUT.groups["jaw"])] += 20
    assert turn(landmarks, LAYOUT) == pytest.approx(30, abs=1e-6)


def test_ranges_are_named_and_what_is_not_labelled_is_not() -> None:
    picture = np.full((200, 200, 3), 90, np.uint8)
    assert conditions(picture, seen(12), LAYOUT) == ("turned 10 to 20 degrees", "mean level 80 to 110 of 255")
    assert conditions(picture, seen(-50), LAYOUT)[0] == "turned 20 degrees or more"
    assert conditions(picture, seen(12) + 500, LAYOUT) == ("turned 10 to 20 degrees",)
    missing = seen(12)
    missing[3] = np.nan
    assert conditions(picture, missing, LAYOUT) == ()
