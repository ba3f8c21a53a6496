"""300-W on a made-up tree of the published layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from qlot.training.data.clip import DataError
from qlot.training.data.sources.w300 import CHALLENGING, TEST, TRAIN, W300, read_pts

RNG = np.random.default_rng(0)


def _face(folder: Path, name: str, suffix: str = ".jpg", seed: int = 0) -> np.ndarray:
    """Write a picture and its labels; return the landmarks with pixels counted from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    points = np.round(np.random.default_rng(seed).uniform(1, 60, (68, 2)), 4)
    rows = "\n".join(f"{x} {y}" for x, y in points)
    (folder / f"{name}.pts").write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}\n")
    cv2.imwrite(str(folder / f"{name}{suffix}"), np.full((50, 70, 3), (0, 0, 180), np.uint8))
    return points


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, folder in enumerate(TRAIN):
        _face(tmp_path / folder, "image_1", seed=seed)
    _face(tmp_path / "afw", "image_2 (a)", ".png", 9)
    _face(tmp_path / "01_Indoor", "indoor_001", ".png")
    return tmp_path


def test_the_upper_left_pixel_of_matlab_is_nought(tmp_path: Path) -> None:
    one = _face(tmp_path, "x")
    assert read_pts(tmp_path / "x.pts") == pytest.approx(one - 1, abs=1e-9)


def test_stills_of_the_training_folders(root: Path) -> None:
    source = W300(root)
    assert len(source) == 4
    clip = source.clip(2, 3, RNG)
    assert clip.layout == "ibug68" and clip.landmarks.shape == (3, 68, 2) and clip.valid.all() and clip.fps is None
    assert all(frame is clip.frames[0] for frame in clip.frames)
    assert clip.frames[0].shape == (50, 70, 3) and clip.frames[0][0, 0, 0] > 150  # RGB


def test_identity_and_group_tell_folders_apart(root: Path) -> None:
    source = W300(root)
    identities = [source.identity(i) for i in range(len(source))]
    assert identities == [
        "300w/afw/image_1",
        "300w/afw/image_2 (a)",
        "300w/helen/trainset/image_1",
        "300w/lfpw/trainset/image_1",
    ]
    assert source.clip(1, 1, RNG).identity == identities[1]
    assert source.groups(2) == ("helen/trainset",)


def test_only_the_chosen_folders_are_read(root: Path) -> None:
    assert W300(root, TEST[:1]).identity(0) == "300w/01_Indoor/indoor_001"
    with pytest.raises(DataError, match=r"ibug holds no \.pts"):
        W300(root, CHALLENGING)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: 1\nn_points: 68\n{\n1 2\n}\n",
        "version: 1\nn_points: 2\n{\n1 2\n3 4\n}\n",
        "n_points: 68\n{\n" + "1 two\n" * 68 + "}",
        "n_points: 68\n{\n" + "1 nan\n" * 68 + "}",
        "n_points: 68\n{\n" + "1 2\n" * 68,
    ],
    ids=["empty", "too few", "another number", "words", "nan", "cut off"],
)
def test_damaged_labels_are_named(root: Path, text: str) -> None:
    (root / "afw/image_1.pts").write_text(text)
    with pytest.raises(DataError, match=r"afw/image_1\.pts"):
        W300(root).clip(0, 1, RNG)


def test_labels_without_a_picture_are_named(root: Path) -> None:
    (root / "afw/image_1.jpg").unlink()
    with pytest.raises(DataError, match=r"image_1\.pts has no picture"):
        W300(root)


def test_a_damaged_picture_is_named(root: Path) -> None:
    (root / "afw/image_1.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"afw/image_1\.jpg"):
        W300(root).clip(0, 1, RNG)


def test_a_picture_is_taken_as_it_is_stored(tmp_path: Path) -> None:
    """Labels count stored pixels: an EXIF orientation must not turn the picture under them."""
    _face(tmp_path / "afw", "a")
    path = tmp_path / "afw/a.jpg"
    data = path.read_bytes()
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    body = b"Exif\x00\x00" + tiff
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:])
    assert cv2.imread(str(path)).shape[:2] == (70, 50)  # the mark is there
    assert W300(tmp_path, ["afw"]).clip(0, 1, RNG).frames[0].shape[:2] == (50, 70)
