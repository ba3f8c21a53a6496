"""Which landmarks are an eye's, in every layout, and that they are drawn more often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qlot.model.layout import load_layout
from qlot.training.data.augment import Augment
from qlot.training.data.batch import SampleMaker
from qlot.training.data.clip import Clip
from qlot.training.data.crops import Disturbance
from qlot.training.data.eyes import eye_sides


@pytest.mark.parametrize("name", ["wflw98", "ibug68", "mediapipe478", "synth70", "eyes"])
def test_lids_irises_and_pupils_are_and_brows_are_not(name: str) -> None:
    layout = load_layout(name)
    sides = eye_sides(layout.points)
    for group, members in layout.groups.items():
        if group in ("right_eye", "right_iris", "right_pupil"):
            assert (sides[list(members)] == -1).all(), group
        if "brow" in group or group in ("jaw", "face_oval", "nose", "outer_lips"):
            assert (sides[list(members)] == 0).all(), group
    named = [i for group, members in layout.groups.items() if group != "mesh" for i in members]  # its mirror is rough
    np.testing.assert_array_equal(sides[list(layout.mirror)][named], -sides[named])
    np.testing.assert_array_equal(eye_sides(torch.tensor(layout.points)).numpy(), sides)


def test_they_are_drawn_more_often() -> None:
    layout = load_layout("mediapipe478")
    flat = layout.points[None, :, :2] * (50, -50) + 60
    face = np.zeros((120, 120, 3), np.uint8)
    clip = Clip([face], flat, np.ones((1, 478), bool), layout.points, "mediapipe478", "a", "a")
    still = Disturbance(*[0.0] * len(Disturbance.__dataclass_fields__))

    def share(eyes: float) -> float:
        make, rng = SampleMaker(48, 60, still, Augment(0), eyes, mirror=False), np.random.default_rng(0)
        return float(np.mean([(eye_sides(make(clip, rng)[1]) != 0).mean() for _ in range(30)]))

    of_all = float((eye_sides(layout.points) != 0).mean())
    assert share(1.0) == pytest.approx(of_all, abs=0.03)
    assert share(3.0) > 1.6 * of_all
