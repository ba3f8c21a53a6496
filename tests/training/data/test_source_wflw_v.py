"""WFLW-V on a made-up tree of the published layout."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from qlot.training.data.clip import DataError
from qlot.training.data.sources.wflw_v import WflwV

FRAMES, FPS = 12, 25


def _video(path: Path, frames: int = FRAMES) -> None:
    """Frame t is grey 10 + 20 t: a frame tells its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
        for t in range(frames):
            grey = np.full((48, 64, 3), 10 + 20 * t, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        out.mux(stream.encode())


def _number(frame: np.ndarray) -> int:
    return round((float(frame.mean()) - 10) / 20)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "landmarks").mkdir()
    for name in ("-3rDiJ", "b_2", "gone"):
        labels = np.random.default_rng(1).uniform(5, 40, (FRAMES, 98, 2))
        labels[:, 0, 0] = np.arange(FRAMES)  # the first landmark tells its row
        np.save(tmp_path / f"landmarks/{name}.npy", labels.astype(np.float32))
    for name in ("-3rDiJ", "b_2"):
        _video(tmp_path / f"videos/{name}.mp4")
    return tmp_path


def test_a_window_starts_anywhere_with_its_own_labels(root: Path) -> None:
    source = WflwV(root)
    starts = set()
    for seed in range(20):
        clip = source.clip(0, 4, np.random.default_rng(seed))
        rows = clip.landmarks[:, 0, 0].round().astype(int)
        assert rows.tolist() == [_number(f) for f in clip.frames] == list(range(rows[0], rows[0] + 4))
        starts.add(int(rows[0]))
    assert len(starts) > 4 and starts <= set(range(FRAMES - 3))
    assert clip.layout == "wflw98" and clip.valid.all() and clip.fps == FPS


def test_the_whole_video_can_be_asked_for(root: Path) -> None:
    clip = WflwV(root).clip(1, FRAMES, np.random.default_rng(0))
    assert [_number(f) for f in clip.frames] == list(range(FRAMES))


def test_videos_are_told_apart_and_labels_without_one_left_out(root: Path) -> None:
    source = WflwV(root)
    assert [source.identity(i) for i in range(len(source))] == ["wflw-v/-3rDiJ", "wflw-v/b_2"]
    assert source.clip(0, 1, np.random.default_rng(0)).identity == "wflw-v/-3rDiJ"


def test_a_label_that_is_not_finite_is_not_valid(root: Path) -> None:
    path = root / "landmarks/b_2.npy"
    labels = np.load(path)
    labels[:, 5] = np.nan
    np.save(path, labels)
    clip = WflwV(root).clip(1, 2, np.random.default_rng(0))
    assert not clip.valid[:, 5].any() and clip.valid.sum() == 2 * 97


def test_a_clip_longer_than_the_video_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"b_2\.npy has 12 frames, 13 were asked for"):
        WflwV(root).clip(1, 13, np.random.default_rng(0))


def test_a_video_shorter_than_its_labels_is_refused(root: Path) -> None:
    _video(root / "videos/b_2.mp4", 7)
    with pytest.raises(DataError, match=r"b_2\.mp4 yields 7 frames"):
        WflwV(root).clip(1, FRAMES, np.random.default_rng(0))


@pytest.mark.parametrize("what", ["videos/b_2.mp4", "landmarks/b_2.npy"])
@pytest.mark.parametrize("content", [b"", b"neither of them"])
def test_damaged_files_are_named(root: Path, what: str, content: bytes) -> None:
    (root / what).write_bytes(content)
    with pytest.raises(DataError, match=what.split("/")[1]):
        WflwV(root).clip(1, 2, np.random.default_rng(0))


def test_labels_of_another_set_are_refused(root: Path) -> None:
    np.save(root / "landmarks/b_2.npy", np.zeros((FRAMES, 68, 2)))
    with pytest.raises(DataError, match=r"b_2\.npy is of shape \(12, 68, 2\)"):
        WflwV(root).clip(1, 2, np.random.default_rng(0))


def test_an_incomplete_tree_says_what_is_missing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere/videos is not a folder"):
        WflwV(tmp_path / "nowhere")
    (root / "landmarks/b_2.npy").unlink()
    with pytest.raises(DataError, match=r"lacks b_2\.npy"):
        WflwV(root)
    (root / "videos/b_2.mp4").unlink()
    (root / "videos/-3rDiJ.mp4").unlink()
    with pytest.raises(DataError, match="has none of the 2 videos"):
        WflwV(root)
