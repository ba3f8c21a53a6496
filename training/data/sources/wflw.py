"""WFLW, Wider Facial Landmarks in the wild: 10,000 faces with 98 landmarks and six attributes.

Wu, Qian, Yang, Wang, Cai, Zhou, "Look at Boundary: A Boundary-Aware Face Alignment Algorithm", CVPR 2018. The tree as
published in WFLW_images.tar.gz and WFLW_annotations.tar.gz, unpacked side by side:

    WFLW_images/<event>/<file>.jpg
    WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt

A line is a face: 196 numbers x y of the landmarks, 4 of the detector's rectangle (x y of its upper left, then of its
lower right corner), 6 attributes (0 or 1), and the picture's path below WFLW_images. Positions are pixels of the
picture; no convention is published, they are taken as they are: pixel centres at integers from 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qlot.model.layout import load_layout
from qlot.training.data.clip import Array, Clip, DataError
from qlot.training.data.pictures import read_picture, still

ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")  # the order of the file
_POINTS = 98
_NUMBERS = 2 * _POINTS + 4 + len(ATTRIBUTES)
_FOLDER = "WFLW_annotations/list_98pt_rect_attr_train_test"


class Wflw:
    """The faces of one half of WFLW as stills.

    There is no identity in WFLW. The picture's name stands for it, so that the faces of one picture stay together; that
    two pictures show different people is not known.

    Args:
        root: the folder that holds WFLW_images and WFLW_annotations.
        split: train (7,500 faces) or test (2,500).

    Raises:
        DataError: the list is missing, or a line of it is not what the format says. Pictures are read one by one later.
    """

    rectangles: Array  # (faces, 4) x and y of the upper left, then of the lower right corner
    attributes: NDArray[np.bool_]  # (faces, 6), columns as in ATTRIBUTES

    def __init__(self, root: Path, split: Literal["train", "test"] = "train") -> None:
        self.name = f"wflw-{split}"
        self._images = root / "WFLW_images"
        self._layout = load_layout("wflw98")
        numbers, self._names = _read_list(root / _FOLDER / f"list_98pt_rect_attr_{split}.txt")
        self._landmarks = numbers[:, : 2 * _POINTS].reshape(-1, _POINTS, 2)
        self.rectangles = numbers[:, 2 * _POINTS : -len(ATTRIBUTES)]
        self.attributes = numbers[:, -len(ATTRIBUTES) :] != 0

    def __len__(self) -> int:
        return len(self._names)

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return a face, `length` times; nothing is drawn.

        Raises:
            DataError: the picture is missing or cannot be decoded.
        """
        path = self._images / self._names[index]
        source = f"{self.name}: {path}"
        return still(read_picture(path), self._landmarks[index], self._layout, length, self.identity(index), source)

    def identity(self, index: int) -> str:
        """Return the picture's name, marked as WFLW's."""
        return f"wflw/{self._names[index]}"

    def groups(self, index: int) -> tuple[str, ...]:
        """Return the attributes that hold for a face: the test subsets of the publication it belongs to."""
        return tuple(a for a, holds in zip(ATTRIBUTES, self.attributes[index], strict=True) if holds)


def _read_list(path: Path) -> tuple[Array, list[str]]:
    """Return the numbers (faces, 206) and the picture names of a list."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path} cannot be read ({e}): unpack WFLW_annotations.tar.gz beside WFLW_images") from e
    rows, names = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        *fields, name = line.split(maxsplit=_NUMBERS)
        try:
            row = np.array(fields, np.float64)
        except ValueError as e:
            raise DataError(f"{path}, line {number}: {e}. Replace the file by an intact copy") from e
        if len(row) != _NUMBERS or not np.isfinite(row).all():
            raise DataError(
                f"{path}, line {number}: {_NUMBERS} finite numbers and a picture's name are needed, not {len(row)}. "
                "Replace the file by an intact copy"
            )
        rows.append(row)
        names.append(name.strip())
    if not rows:
        raise DataError(f"{path} lists no face: replace it by an intact copy")
    return np.stack(rows), names
