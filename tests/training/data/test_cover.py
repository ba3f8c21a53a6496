"""Things before faces: they change what they cover, leave labels valid, and a face that left has none."""

from __future__ import annotations

import numpy as np
import pytest

from qlot.model.layout import load_layout
from qlot.training.data import cover
from qlot.training.data.cover import Cover

FACE = load_layout("wflw98")
SIZE = 96


def clip(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames (3, S, S, 3), landmarks (3, 98, 2) of a face that fills them, validity."""
    frames = np.random.default_rng(seed).integers(90, 160, (3, SIZE, SIZE, 3)).astype(np.uint8)
    at = np.broadcast_to((FACE.points[:, :2] * (1, -1) + (1.2, 0.9)) * SIZE / 2.4, (3, 98, 2)).copy()
    return frames, at, np.ones((3, 98), bool)


def only(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(cover, "_SHARES", tuple(float(k == kind) for k in cover._KINDS))


def changed(before: np.ndarray, after: np.ndarray, at: np.ndarray, group: str) -> float:
    """Return the share of a group's landmarks whose pixels changed."""
    x, y = np.rint(at[0, list(FACE.groups[group])]).astype(int).T
    return float((before[0, y, x] != after[0, y, x]).any(-1).mean())


@pytest.mark.parametrize(
    ("kind", "hidden", "free"), [("mask", "outer_lips", "left_brow"), ("glasses", "left_eye", "jaw")]
)
def test_what_is_worn_sits_where_it_belongs(monkeypatch: pytest.MonkeyPatch, kind: str, hidden: str, free: str) -> None:
    only(monkeypatch, kind)
    frames, at, valid = clip(0)
    before = frames.copy()
    kept = Cover(1.0)(frames, at, FACE.points, valid, np.random.default_rng(1))
    assert kept.all()
    assert changed(before, frames, at, hidden) > 0.9
    assert changed(before, frames, at, free) < 0.2


@pytest.mark.parametrize("kind", cover._KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_every_kind_covers_something_and_is_repeatable(monkeypatch: pytest.MonkeyPatch, kind: str, seed: int) -> None:
    only(monkeypatch, kind)
    results = []
    for _ in range(2):
        frames, at, valid = clip(seed)
        before = frames.copy()
        kept = Cover(1.0)(frames, at, FACE.points, valid, np.random.default_rng(seed))
        assert (frames != before).any() and valid.all()
        results.append((frames, kept))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    gone = ~results[0][1].any(1)
    assert gone[-1] == (kind in ("gone", "turned")) and (np.diff(gone.astype(int)) >= 0).all()


def test_no_share_changes_nothing() -> None:
    frames, at, valid = clip(0)
    before = frames.copy()
    assert Cover(0.0)(frames, at, FACE.points, valid, np.random.default_rng(0)) is valid
    np.testing.assert_array_equal(frames, before)


def test_a_clip_without_a_face_is_left_alone() -> None:
    frames, at, valid = clip(0)
    before = frames.copy()
    Cover(1.0)(frames, at, FACE.points, np.zeros_like(valid), np.random.default_rng(0))
    np.testing.assert_array_equal(frames, before)
