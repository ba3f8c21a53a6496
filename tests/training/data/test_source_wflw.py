"""WFLW on a made-up tree of the published layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from qlot.training.data.clip import DataError
from qlot.training.data.sources.wflw import ATTRIBUTES, Wflw

RNG = np.random.default_rng(0)
LIST = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt"
NAMES = ("1--Parade/1_Parade_a_1_2.jpg", "1--Parade/1_Parade_a_1_2.jpg", "37--Soccer/37_Soccer_b_3.jpg")


def _line(points: np.ndarray, attributes: str, name: str) -> str:
    rectangle = [*points.min(0).astype(int), *points.max(0).astype(int)]
    numbers = [f"{v:.6f}" for v in points.ravel()] + [str(v) for v in rectangle]
    return " ".join([*numbers, *attributes, name])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    points = np.random.default_rng(3).uniform(5, 40, (3, 98, 2))
    np.save(tmp_path / "points.npy", points)
    lines = [_line(p, a, n) for p, a, n in zip(points, ("000000", "101000", "000001"), NAMES, strict=True)]
    for split, chosen in (("train", lines), ("test", lines[2:])):
        path = tmp_path / LIST.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(chosen) + "\n")
    for name, red in zip(NAMES[1:], (200, 50), strict=True):
        path = tmp_path / "WFLW_images" / name
        path.parent.mkdir(parents=True)
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[..., 2] = red  # OpenCV writes BGR
        cv2.imwrite(str(path), picture)
    return tmp_path


def test_a_face_is_what_its_line_says(root: Path) -> None:
    source = Wflw(root)
    assert len(source) == 3 and source.name == "wflw-train"
    clip = source.clip(1, 4, RNG)
    expected = np.load(root / "points.npy")[1]
    assert clip.layout == "wflw98" and clip.queries.shape == (98, 3)
    assert clip.landmarks == pytest.approx(np.stack([expected] * 4), abs=1e-6)
    assert clip.valid.all() and clip.fps is None
    assert all(frame is clip.frames[0] for frame in clip.frames) and len(clip.frames) == 4
    assert clip.frames[0].shape == (48, 64, 3)
    assert np.abs(clip.frames[0].mean((0, 1)) - (200, 0, 0)).max() < 3  # RGB
    assert NAMES[1] in clip.source


def test_the_splits_are_apart(root: Path) -> None:
    test = Wflw(root, "test")
    assert len(test) == 1 and test.name == "wflw-test"
    assert test.clip(0, 1, RNG).landmarks[0] == pytest.approx(np.load(root / "points.npy")[2], abs=1e-6)


def test_faces_of_one_picture_share_its_identity(root: Path) -> None:
    source = Wflw(root)
    assert source.identity(0) == source.identity(1) == f"wflw/{NAMES[0]}" == source.clip(0, 1, RNG).identity
    assert source.identity(2) != source.identity(0)


def test_attributes_and_rectangles_are_given(root: Path) -> None:
    source = Wflw(root)
    assert [source.groups(i) for i in range(3)] == [(), ("pose", "illumination"), ("blur",)]
    assert source.attributes.shape == (3, len(ATTRIBUTES)) and source.attributes.sum() == 3
    points = np.load(root / "points.npy")
    assert source.rectangles[1] == pytest.approx([*points[1].min(0).astype(int), *points[1].max(0).astype(int)])


def test_a_missing_list_says_what_to_unpack(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list_98pt_rect_attr_train\.txt.*WFLW_annotations\.tar\.gz"):
        Wflw(tmp_path)


@pytest.mark.parametrize("damage", ["short", "words", "nan", "binary", "empty"])
def test_a_damaged_list_names_file_and_line(root: Path, damage: str) -> None:
    path = root / LIST.format("train")
    lines = path.read_text().splitlines()
    broken = {
        "short": " ".join(lines[1].split()[3:]),
        "words": lines[1].replace(lines[1].split()[7], "seven", 1),
        "nan": lines[1].replace(lines[1].split()[7], "nan", 1),
    }
    if damage in broken:
        path.write_text("\n".join([lines[0], broken[damage]]))
        where = r"list_98pt_rect_attr_train\.txt, line 2"
    else:
        path.write_bytes(b"\xff\xfe\x00" if damage == "binary" else b"\n\n")
        where = r"list_98pt_rect_attr_train\.txt"
    with pytest.raises(DataError, match=where):
        Wflw(root)


@pytest.mark.parametrize("damage", ["missing", "empty", "text"])
def test_a_damaged_picture_is_named(root: Path, damage: str) -> None:
    path = root / "WFLW_images" / NAMES[2]
    path.unlink() if damage == "missing" else path.write_bytes(b"" if damage == "empty" else b"no picture")
    source = Wflw(root)
    assert source.clip(0, 1, RNG).has_face  # the others still work
    with pytest.raises(DataError, match=r"37_Soccer_b_3\.jpg"):
        source.clip(2, 1, RNG)
