"""Scenes side by side: landmarks are drawn where they are, and what is written is what was shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qlot.benchmarks.faces.scenes import PANEL, SCENES, STRIP, VideoScene, answer, panels, read, sheet, write_scene
from qlot.model.layout import load_layout
from qlot.runtime.media.video import VideoReader
from qlot.training.data.clip import Clip
from qlot.training.data.interpolation import Interpolation

BETWEEN = Interpolation.between(load_layout("mediapipe478"), load_layout("wflw98"))


@pytest.fixture(scope="module")
def clip(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    scene = next(s for s in SCENES if s.title == "glasses")
    return read(scene, shared / "data", tmp_path_factory.mktemp("clips"))


def test_a_panel_shows_each_tracker_on_the_same_cut(clip: Clip, tmp_path: Path) -> None:
    labels = [answer(BETWEEN(points[None])[0]) for points in clip.landmarks]
    nothing = [answer(np.full((98, 2), np.nan)) for _ in labels]
    frames = panels(clip, [labels, nothing], ["labels", "nothing"])
    assert len(frames) == len(clip.frames) and frames[0].shape == (PANEL, 2 * PANEL, 3)
    drawn, plain = frames[0][20:, :PANEL].astype(int), frames[0][20:, PANEL:].astype(int)
    rows, columns = np.nonzero(np.abs(drawn - plain).sum(-1))
    assert len(rows) > 300, "landmarks and edges"
    assert np.hypot(rows.mean() + 20 - PANEL / 2, columns.mean() - PANEL / 2) < PANEL / 6, "about the middle"
    path = write_scene(tmp_path, SCENES[0], clip, frames)
    assert path.name == "blink.mp4" and len(list(VideoReader(path))) == len(frames)
    assert sheet([("a", frames[0]), ("b", frames[1])]).shape == (2 * (PANEL + STRIP), 2 * PANEL, 3)


def test_dusk_is_dark_and_the_rest_as_it_was(shared: Path, tmp_path: Path) -> None:
    dusk, plain = (next(s for s in SCENES if s.title == t) for t in ("dusk", "turned head"))
    assert isinstance(dusk, VideoScene) and isinstance(plain, VideoScene) and dusk.frames == plain.frames
    dark, light = (read(s, shared / "data", tmp_path).frames[0].mean() for s in (dusk, plain))
    assert dark < 0.25 * light
