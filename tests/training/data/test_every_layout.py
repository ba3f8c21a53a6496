"""A teacher's clips in every layout."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from qlot.model.convention import as_labelled
from qlot.model.layout import load_layout
from qlot.training.data.clip import Clip
from qlot.training.data.interpolation import CONVENTION
from qlot.training.data.sources.every_layout import SHARES, TEACHER, EveryLayout


class One:
    """A source of one clip; the teacher has no labels in its second frame."""

    name = "one"

    def __len__(self) -> int:
        return 1

    def identity(self, index: int) -> str:
        return "a person"

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        points = load_layout(TEACHER).points
        at = np.broadcast_to(points[:, :2] * (40, -40) + 60, (length, 478, 2)).copy()
        valid = np.ones((length, 478), bool)
        valid[1:] = False
        return Clip([np.zeros((9, 9, 3), np.uint8)] * length, at, valid, points, TEACHER, "a person", "one")


def test_every_layout_comes_in_its_share() -> None:
    source, rng = EveryLayout(One()), np.random.default_rng(0)
    assert (len(source), source.identity(0)) == (1, "a person")
    clips = [source.clip(0, 2, rng) for _ in range(200)]
    found = Counter(clip.layout for clip in clips)
    assert {name: found[name] / 200 for name in SHARES} == pytest.approx(SHARES, abs=0.1)
    for clip in clips:
        layout = load_layout(clip.layout)
        np.testing.assert_array_equal(clip.queries, layout.points)
        shared = [461, 472] if clip.layout == TEACHER else []  # whose queries are those of 250 and 145
        assert np.flatnonzero(~clip.valid[0]).tolist() == shared and not clip.valid[1].any()
        jaw = list(layout.groups.get("jaw", ()))
        at = (as_labelled(layout.points, CONVENTION) if jaw else layout.points)[jaw or slice(None), :2]
        np.testing.assert_allclose(clip.landmarks[0][jaw or slice(None)], at * (40, -40) + 60, atol=1e-6)
