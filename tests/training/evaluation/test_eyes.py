"""Eyes of a clip: what follows, what does not, and what a layout does not have."""

from __future__ import annotations

import numpy as np
import pytest

from qlot.model.layout import load_layout
from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.training.evaluation.eyes import eyes_of


def face(name: str, closed: np.ndarray, aside: np.ndarray) -> np.ndarray:
    """The canonical face in a picture, its lids closed by a share and its pupils moved."""
    layout = load_layout(name)
    points = np.broadcast_to(layout.points[:, :2] * (60, -60) + 80, (len(closed), len(layout.points), 2)).copy()
    for side in ("right", "left"):
        ring = list(layout.groups[f"{side}_eye"])
        middle = points[:, ring, 1].mean(1, keepdims=True)
        points[:, ring, 1] += closed[:, None] * (middle - points[:, ring, 1])
        if pupil := layout.groups.get(f"{side}_pupil"):
            points[:, pupil[0], 0] += aside
    return points


@pytest.mark.parametrize("name", ["mediapipe478", "wflw98", "ibug68"])
def test_what_follows_in_part(name: str) -> None:
    layout = LayoutSpec.model_validate(load_layout(name).spec())
    closed, aside = np.zeros(60), 4 * np.sin(np.arange(60) / 5)
    closed[[20, 21, 40]] = 1
    labels, valid = face(name, closed, aside), np.ones((60, len(layout.points)), bool)
    whole = eyes_of(labels, labels, valid, layout)
    assert whole is not None and whole.aperture_r == pytest.approx(1) and whole.blink_depth == pytest.approx(1)
    half = eyes_of(face(name, 0.5 * closed, 0.3 * aside), labels, valid, layout)
    assert half is not None and half.blink_depth == pytest.approx(0.5, abs=0.01) and half.aperture_r == pytest.approx(1)
    if name == "ibug68":
        assert half.pupils is None
    else:
        assert (whole.pupils, half.pupils) == (pytest.approx(1), pytest.approx(0.3, abs=1e-4))
    still = eyes_of(face(name, 0 * closed, 0 * aside), labels, valid, layout)
    assert still is not None and still.blink_depth == pytest.approx(0, abs=1e-6) and still.aperture_r is None


def test_a_layout_without_lids_and_a_clip_without_frames_have_none() -> None:
    layout = LayoutSpec.model_validate(load_layout("wflw98").spec())
    labels, valid = face("wflw98", np.zeros(60), np.zeros(60)), np.ones((60, 98), bool)
    valid[5:, 60] = False
    assert eyes_of(labels, labels, valid, layout) is None
    bare = layout.model_copy(update={"groups": {}})
    assert eyes_of(labels, labels, np.ones_like(valid), bare) is None
