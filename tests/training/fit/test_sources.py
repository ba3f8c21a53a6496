"""From a recipe's specs to sources: what a star stands for, and whose labels they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlot.training.data.clip import DataError
from qlot.training.fit.recipe import SourceSpec
from qlot.training.fit.sources import _expanded, open_sources


def spec(**changes: object) -> SourceSpec:
    return SourceSpec.model_validate({"kind": "video", "path": "video/a*.mp4", "share": 0.3, **changes})


def test_a_star_stands_for_every_video_and_its_own_table(tmp_path: Path) -> None:
    (tmp_path / "video").mkdir()
    for name in ("a1.mp4", "a2.mp4", "b.mp4", "a1.npz"):
        (tmp_path / "video" / name).touch()
    found = _expanded(spec(table="teacher/video"), tmp_path)
    assert [(s.path, s.table) for s in found] == [
        ("video/a1.mp4", "teacher/video/a1.npz"), ("video/a2.mp4", "teacher/video/a2.npz"),
    ]  # fmt: skip
    assert sum(s.share for s in found) == pytest.approx(0.3)
    assert [s.table for s in _expanded(spec(), tmp_path)] == [None, None]
    one = spec(path="video/b.mp4", table="teacher/video/b.npz")
    assert _expanded(one, tmp_path) == [one]


def test_a_star_for_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing in .* matches 'video/a\*.mp4'"):
        open_sources((spec(),), tmp_path)


def test_the_shipped_teachers_recipes_open(shared: Path) -> None:
    """With the labels beside the pictures: the teacher's tables are made."""
    specs = (spec(path="video/bb*.mpg", every_layout=True), spec(kind="faces", path="faces/faces_new_train",
             labels="mediapipe478", every_layout=True))  # fmt: skip
    names = [source.name for source, _ in open_sources(specs, shared / "data")]
    assert names == ["bbaf2n, every layout", "faces_new_train (mediapipe478), every layout"]
