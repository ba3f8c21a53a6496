"""300-W: 68 landmarks on pictures of AFW, HELEN, LFPW and iBUG, and 600 pictures of its own.

Sagonas, Antonakos, Tzimiropoulos, Zafeiriou, Pantic, "300 Faces In-The-Wild Challenge: database and results", Image and
Vision Computing 47, 2016. The archives as published, unpacked below one folder:

    afw/  helen/trainset/  helen/testset/  lfpw/trainset/  lfpw/testset/  ibug/  01_Indoor/  02_Outdoor/

Each holds `<name>.jpg` or `<name>.png` beside `<name>.pts`: a text file with `n_points: 68` and, between braces, a line
x y for each landmark. The publication counts pixels as Matlab does, the upper left one is (1, 1): 1 is subtracted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qlot.model.layout import load_layout
from qlot.runtime.media.video import IMAGE_SUFFIXES
from qlot.training.data.clip import Array, Clip, DataError
from qlot.training.data.pictures import read_picture, still

TRAIN = ("afw", "helen/trainset", "lfpw/trainset")  # 3,148 pictures
COMMON = ("helen/testset", "lfpw/testset")  # 554
CHALLENGING = ("ibug",)  # 135
TEST = ("01_Indoor", "02_Outdoor")  # 600, the competition's own
_POINTS = 68
_PTS = re.compile(r"n_points:\s*(\d+)\s*\{([^}]*)\}")


class W300:
    """Some folders of 300-W as stills.

    There is no identity in 300-W. Folder and file name stand for it: that two pictures show different people is not
    known, and AFW has several faces of one photograph as files of their own.

    Args:
        root: the folder that holds those of the subsets.
        subsets: which to take, of TRAIN, COMMON, CHALLENGING and TEST.

    Raises:
        DataError: a folder is missing or empty, or a label file has no picture.
    """

    def __init__(self, root: Path, subsets: Sequence[str] = TRAIN) -> None:
        self.name = "300w"
        self._root = root
        self._layout = load_layout("ibug68")
        self._files = [pair for subset in subsets for pair in _pairs(root / subset)]

    def __len__(self) -> int:
        return len(self._files)

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return a face, `length` times; nothing is drawn.

        Raises:
            DataError: the picture or its labels are missing or cannot be read.
        """
        labels, picture = self._files[index]
        return still(
            read_picture(picture),
            read_pts(labels),
            self._layout,
            length,
            self.identity(index),
            f"{self.name}: {picture}",
        )

    def identity(self, index: int) -> str:
        """Return the folder and name of the picture, marked as 300-W's."""
        return f"300w/{self._files[index][0].relative_to(self._root).with_suffix('').as_posix()}"

    def groups(self, index: int) -> tuple[str, ...]:
        """Return the subset that a face belongs to, as its folder."""
        return (self._files[index][0].relative_to(self._root).parent.as_posix(),)


def read_pts(path: Path) -> Array:
    """Return the landmarks (68, 2) of a .pts file in pixels, pixel centres at integers from 0.

    Raises:
        DataError: the file cannot be read, or does not hold 68 finite points.
    """
    try:
        found = _PTS.search(path.read_text(encoding="utf-8"))
        numbers = np.array(found[2].split(), np.float64) if found else np.empty(0)
    except (OSError, ValueError) as e:
        raise DataError(f"{path} cannot be read ({e}): replace it by an intact copy") from e
    if not found or int(found[1]) != _POINTS or numbers.size != 2 * _POINTS or not np.isfinite(numbers).all():
        raise DataError(f"{path} does not hold {_POINTS} points x y between braces: replace it by an intact copy")
    return numbers.reshape(_POINTS, 2) - 1.0


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Return the label files of a folder, each with its picture."""
    labels = sorted(folder.glob("*.pts"))
    if not labels:
        raise DataError(f"{folder} holds no .pts files: unpack that part of 300-W there, or leave the subset out")
    pairs = []
    for path in labels:
        pictures = [p for suffix in IMAGE_SUFFIXES if (p := path.with_suffix(suffix)).is_file()]
        if not pictures:
            raise DataError(f"{path} has no picture of that name beside it: unpack the archive again, or remove it")
        pairs.append((path, pictures[0]))
    return pairs
