"""The shipped weights: landmarks that two layouts share lie in one place, whichever layout asks."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from qlot.assets import sample_clip
from qlot.model.config import PRESETS
from qlot.model.weights import shipped_weights
from qlot.runtime.geometry import CropBox
from qlot.runtime.media.video import VideoReader
from qlot.training.evaluation.stills import look
from qlot.training.evaluation.subject import open_subject

FACE = CropBox(205.0, 190.0, 118.0)  # where the man of the sample clip sits
CORNERS = {60: 36, 64: 39, 68: 42, 72: 45, 76: 48, 82: 54}  # of eyes and mouth, wflw98 and ibug68
OF_68 = {**{2 * i: i for i in range(17)}, **{51 + i: 27 + i for i in range(9)}, **CORNERS}  # jaw and nose as well
OF_478 = {60: 33, 64: 133, 68: 362, 72: 263, 76: 61, 82: 291, 96: 468, 97: 473}  # pupils as well
TAUGHT = [name for name in shipped_weights() if PRESETS[name].convention]  # in every layout


@cache
def found(weights: str, layout: str) -> np.ndarray:
    """Return landmarks (F, N, 2) of some frames of the sample clip, from a cold start."""
    network = open_subject(weights).network(layout)
    frames = [frame.rgb for frame in VideoReader(sample_clip()) if frame.index % 50 == 0]
    return np.stack([look(network, rgb, FACE, 4)[0] for rgb in frames])


@pytest.mark.parametrize("weights", TAUGHT)
@pytest.mark.parametrize(("other", "pairs"), [("ibug68", OF_68), ("mediapipe478", OF_478)])
def test_two_layouts_agree_where_they_share_points(weights: str, other: str, pairs: dict[int, int]) -> None:
    ours, theirs = found(weights, "wflw98"), found(weights, other)
    eyes = np.linalg.norm(ours[:, 60] - ours[:, 72], axis=-1)[:, None]
    apart = np.linalg.norm(ours[:, list(pairs)] - theirs[:, list(pairs.values())], axis=-1) / eyes
    assert np.median(apart) < 0.01 and np.median(apart, 0).max() < 0.03
    neighbours = np.linalg.norm(ours[:, list(pairs)] - theirs[:, np.roll(list(pairs.values()), 1)], axis=-1) / eyes
    assert np.median(neighbours) > 0.05, "points that are not the same are told apart"
