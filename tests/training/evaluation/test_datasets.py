from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qlot.training.data.clip import DataError
from qlot.training.data.sources.stills import LABEL_OFFSET
from qlot.training.evaluation.datasets import open_data
from tests.training.evaluation.made import write_data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def test_faces_are_labelled_twice_and_the_held_back_video_is_there(data: Path) -> None:
    material = open_data("faces-video", data)
    assert [(s.name, s.layout) for s in material.stills] == [
        ("faces_val", "ibug68"), ("faces_val-moved", "ibug68"), ("faces_val", "mediapipe478"),
    ]  # fmt: skip
    assert [v.name for v in material.videos] == ["sbwe5n"]
    assert material.layouts == ("ibug68", "mediapipe478")
    assert material.of("ibug68").videos == () and len(material.of("ibug68").stills) == 2
    plain, moved = (s.source.clip(0, 1, np.random.default_rng(0)).landmarks for s in material.stills[:2])
    assert np.allclose(plain - moved, LABEL_OFFSET, atol=1e-4)
    clip = material.videos[0].load()
    assert clip.landmarks.shape == (12, 478, 2) and len(clip.frames) == 12


def test_videos_are_parted_between_the_splits(data: Path) -> None:
    video = data / "video"
    for name in ("other", "cap13_edit2"):
        (video / f"{name}.mp4").write_bytes((video / "sbwe5n.mp4").read_bytes())
        (video / f"{name}.npz").write_bytes((video / "sbwe5n.npz").read_bytes())
    for suffix in (".tar", ".npz"):
        (data / "faces" / f"faces_train{suffix}").write_bytes((data / "faces" / f"faces_val{suffix}").read_bytes())
    assert [v.name for v in open_data("faces-video", data, "val").videos] == ["cap13_edit2", "sbwe5n"]
    assert [v.name for v in open_data("faces-video", data, "train").videos] == ["cap13_edit2", "other"]


def test_the_shared_material_is_found_whole(shared: Path) -> None:
    material = open_data("faces-video", shared / "data")
    assert [v.name for v in material.videos] == ["cap13_edit2", "lwbsza", "sbwe5n", "swiz3n"]
    assert [len(s.source) for s in material.stills] == [360, 360, 360]
    assert len(material.videos[0].load().frames) == 200


def test_what_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        open_data("faces-video", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"faces_train\.tar is missing"):
        open_data("faces-video", data, "train")
    (data / "video" / "sbwe5n.npz").unlink()
    with pytest.raises(DataError, match=r"sbwe5n\.npz is missing"):
        open_data("faces-video", data)
    with pytest.raises(DataError, match="WFLW"):
        open_data("wflw", data)
    with pytest.raises(DataError, match="evaluation alone"):
        open_data("wflw-v", data, "train")


def test_a_broken_picture_is_named(data: Path) -> None:
    tar = data / "faces" / "faces_val.tar"
    content = bytearray(tar.read_bytes())
    content[512:560] = b"\0" * 48  # the head of the first JPEG
    tar.write_bytes(content)
    source = open_data("faces-video", data).stills[0].source
    with pytest.raises(DataError, match=r"00000\.jpg"):
        source.clip(0, 1, np.random.default_rng(0))
