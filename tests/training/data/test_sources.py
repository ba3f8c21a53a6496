"""Stills in archives and labelled videos: what they give, and what is said of damaged ones."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest

from qlot.model.layout import load_layout
from qlot.training.data.clip import DataError
from qlot.training.data.sources.stills import LabelledFaces
from qlot.training.data.sources.video import LabelledVideo
from tests.training.tiny import write_faces

RNG = np.random.default_rng(0)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    write_faces(tmp_path / "faces")
    return tmp_path / "faces"


def _relabel(path: Path, **changes: object) -> None:
    with np.load(path.with_suffix(".npz")) as data:
        values = {**data, **changes}
    np.savez(path.with_suffix(".npz"), **{k: v for k, v in values.items() if v is not None})


def test_a_still_is_a_clip(faces: Path) -> None:
    source = LabelledFaces(faces)
    assert len(source) == 4 and source.name == "faces (ibug68)"
    clip = source.clip(2, 3, RNG)
    assert clip.landmarks.shape == (3, 68, 2) and clip.valid.all() and clip.layout == "ibug68" and clip.fps is None
    assert clip.frames[0] is clip.frames[2] and clip.source == "faces.tar:2.png"
    x, y = np.rint(clip.landmarks[0, 30]).astype(int)
    assert clip.frames[0][y, x].min() > 150 > 60 > clip.frames[0][2, 2].max()  # the labels are on the blobs
    assert [source.identity(i) for i in range(4)] == ["faces/person 0"] * 2 + ["faces/person 1"] * 2
    assert clip.identity == source.identity(2)


def test_colours_are_red_green_blue(faces: Path) -> None:
    import cv2

    red = np.zeros((80, 80, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes blue first
    _replace(faces, "1.png", cv2.imencode(".png", red)[1].tobytes())
    assert LabelledFaces(faces).picture(1)[0, 0].tolist() == [255, 0, 0]


def _replace(path: Path, name: str, content: bytes | None) -> None:
    """Rewrite the archive with another content of one file, or without it."""
    with tarfile.open(path.with_suffix(".tar")) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    with tarfile.open(path.with_suffix(".tar"), "w") as tar:
        for key, data in files.items():
            data = content if key == name else data
            if data is not None:
                member = tarfile.TarInfo(key)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def test_labels_of_another_table_replace_those_beside_the_pictures(faces: Path, tmp_path: Path) -> None:
    with np.load(faces.with_suffix(".npz")) as data:
        stored = dict(data)
    stored["ibug68"] = stored["ibug68"] + 2
    np.savez(tmp_path / "other.npz", **stored)
    moved = LabelledFaces(faces, table=tmp_path / "other.npz").landmarks - LabelledFaces(faces).landmarks
    np.testing.assert_allclose(moved[..., 0], 2, atol=1e-4)


def test_people_may_be_unknown(faces: Path) -> None:
    _relabel(faces, person=None)
    assert LabelledFaces(faces).identity(3) == "faces/picture 3"


def test_labels_that_are_not_finite_are_not_valid(faces: Path) -> None:
    labels = np.full((4, 68, 2), 30.0, np.float32)
    labels[0, 5] = np.nan
    _relabel(faces, ibug68=labels)
    assert np.flatnonzero(~LabelledFaces(faces).clip(0, 1, RNG).valid[0]).tolist() == [5]


def test_a_damaged_picture_is_named_when_it_is_drawn(faces: Path) -> None:
    _replace(faces, "2.png", b"\x89PNG and no more")
    source = LabelledFaces(faces)
    source.clip(1, 1, RNG)
    with pytest.raises(DataError, match=r"faces\.tar: 2\.png is not a readable picture\. Fetch"):
        source.clip(2, 1, RNG)


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_picture_is_named(faces: Path, content: bytes | None) -> None:
    _replace(faces, "3.png", content)
    with pytest.raises(DataError, match=r"lacks 1 of the pictures .*: 3\.png"):
        LabelledFaces(faces)


def test_missing_labels_are_named(faces: Path) -> None:
    with pytest.raises(DataError, match=r"faces\.npz has no labels 'mediapipe478'; it has .*ibug68"):
        LabelledFaces(faces, "mediapipe478")
    _relabel(faces, ibug68=np.zeros((3, 68, 2)))
    with pytest.raises(DataError, match=r"labels of \(3, 68, 2\) for 4 names"):
        LabelledFaces(faces)
    _relabel(faces, names=None)
    with pytest.raises(DataError, match="not readable as labelled faces"):
        LabelledFaces(faces)


@pytest.mark.parametrize("suffix", [".tar", ".npz"])
def test_missing_and_cut_files_are_named(faces: Path, suffix: str) -> None:
    file = faces.with_suffix(suffix)
    content = file.read_bytes()
    for damaged in (content[:700], b"nothing of the kind", b""):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="faces"):
            LabelledFaces(faces)
    file.unlink()
    with pytest.raises(DataError, match=r"not readable as labelled faces .*No such file"):
        LabelledFaces(faces)


FRAMES = 14


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose frames are known by their brightness; the labels of frame t start at x = t."""
    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = 64, 80
        for t in range(FRAMES):
            frame = np.full((64, 80, 3), 10 + 16 * t, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    _label(path, FRAMES)
    return path


def _label(path: Path, frames: int, points: int = 478) -> None:
    labels = np.zeros((frames, points, 3))
    labels[..., 0] = np.arange(frames)[:, None]
    labels[1, 7] = np.nan
    np.savez(path.with_suffix(".npz"), mediapipe478=labels)


def test_frames_and_labels_of_a_video_stay_together(recorded: Path) -> None:
    source = LabelledVideo(recorded, identity="video/one")
    assert len(source) == FRAMES and source.identity(0) == "video/one"
    orders, strides = set(), set()
    for seed in range(20):
        clip = source.clip(seed % FRAMES, 4, np.random.default_rng(seed))
        times = clip.landmarks[:, 0, 0].astype(int)
        assert np.abs([f.mean() for f in clip.frames] - (10 + 16.0 * times)).max() < 5
        orders.add(int(np.sign(times[1] - times[0])))
        strides.add(int(abs(times[1] - times[0])))
        assert len(set(np.abs(np.diff(times)))) == 1 and clip.fps == pytest.approx(25, rel=0.01)
    assert orders == {-1, 1} and strides == {1, 2}
    first = source.frames_of([1])
    assert first.queries == pytest.approx(load_layout("mediapipe478").points)
    assert not first.valid[0, 7] and first.valid.sum() == 477


def test_part_of_a_video(recorded: Path) -> None:
    held_back = LabelledVideo(recorded, -4)
    rest = LabelledVideo(recorded, stop=-4)
    assert (len(held_back), len(rest)) == (4, FRAMES - 4)
    assert held_back.frames_of(range(4)).landmarks[:, 0, 0].tolist() == [10, 11, 12, 13]
    assert held_back.clip(3, 4, RNG).landmarks.shape[0] == 4
    with pytest.raises(DataError, match="talk: 4 frames hold no clip of 5"):
        held_back.clip(0, 5, RNG)
    with pytest.raises(DataError, match=r"no frames between 99 and None"):
        LabelledVideo(recorded, 99)


def test_what_is_wrong_with_a_video_is_named(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    with pytest.raises(DataError, match=r"talk\.npz: no landmarks .*No such file"):
        LabelledVideo(path)
    _label(path, 5)
    with pytest.raises(DataError, match=r"talk\.mp4"):
        LabelledVideo(path)
    path.write_bytes(recorded.read_bytes())
    with pytest.raises(DataError, match=r"talk\.mp4 has 14 frames, .*talk\.npz labels 5"):
        LabelledVideo(path)
    _label(path, FRAMES, points=68)
    with pytest.raises(DataError, match=r"of shape \(14, 68, 2\), not \(T, 478, 2\)"):
        LabelledVideo(path)
    np.savez(path.with_suffix(".npz"), other=np.zeros(3))
    with pytest.raises(DataError, match=r"talk\.npz: no landmarks 'mediapipe478'"):
        LabelledVideo(path)
    path.with_suffix(".npz").write_bytes(recorded.with_suffix(".npz").read_bytes()[:500])
    with pytest.raises(DataError, match=r"talk\.npz: no landmarks"):
        LabelledVideo(path)
