"""Labelled face pictures in a tar archive with an .npz beside it; a still becomes a clip when its crop moves."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.model.layout import load_layout
from qlot.training.data.clip import Array, Clip, DataError, Image
from qlot.training.data.sources.conditions import conditions

LABELS = ("ibug68", "mediapipe478")  # keys of the .npz, also names of layouts
# The 68 labels of the shipped recipes' faces lie this far to the right of and below where they belong
# (docs/training.md, `python -m qlot.training.tools.label_offset`); mirrored training cannot learn it.
LABEL_OFFSET = (1.75, 1.8)


class LabelledFaces:
    """Pictures of `NAME.tar` with the labels of `NAME.npz`: `names`, one of `LABELS`, and where known `person`.

    Without `person` each picture counts as a person of its own.

    The archive is read once and kept compressed in memory.

    Args:
        path: `NAME.tar` or `NAME.npz`.
        labels: which of the labels.
        offset: (x, y) pixels by which all of these labels lie off; taken out of them.
        table: another .npz with labels of the same pictures in the same order.

    Raises:
        DataError: files missing or damaged, labels that are not there or of another shape, or a name without a picture.
    """

    def __init__(
        self,
        path: Path,
        labels: str = "ibug68",
        offset: tuple[float, float] = (0.0, 0.0),
        table: Path | None = None,
    ) -> None:
        moved = f", less ({offset[0]:g}, {offset[1]:g}) px" if any(offset) else ""
        self.name = f"{path.stem} ({labels}{moved})"
        self.labels, self._layout = labels, load_layout(labels)
        self.points = self._layout.points
        self._tar, table = path.with_suffix(".tar"), table or path.with_suffix(".npz")
        try:
            with np.load(table) as data:
                if labels not in data:
                    raise DataError(f"{table} has no labels {labels!r}; it has {', '.join(data)}")
                self.landmarks: NDArray[np.float32] = (data[labels][..., :2] - np.array(offset)).astype(np.float32)
                self.names = [str(n) for n in data["names"]]
                people = data["person"] if "person" in data else np.arange(len(self.names))
                prefix = "person" if "person" in data else "picture"
            with tarfile.open(self._tar) as tar:
                files = {Path(m.name).name: tar.extractfile(m) for m in tar.getmembers() if m.isfile()}
                self._bytes = [file.read() if (file := files.get(n)) else b"" for n in self.names]
        except (OSError, ValueError, KeyError, EOFError, tarfile.TarError, zipfile.BadZipFile) as e:
            raise DataError(f"{path}: not readable as labelled faces ({e}). Fetch it again.") from e
        if self.landmarks.shape != (len(self.names), len(self.points), 2) or len(people) != len(self.names):
            raise DataError(f"{table}: labels of {self.landmarks.shape} for {len(self.names)} names. Fetch it again.")
        missing = [n for n, b in zip(self.names, self._bytes, strict=True) if not b]
        if missing:
            raise DataError(f"{self._tar} lacks {len(missing)} of the pictures in {table}: {', '.join(missing[:5])}")
        self._people = [f"{path.stem}/{prefix} {p}" for p in people]

    def __len__(self) -> int:
        return len(self.names)

    def identity(self, index: int) -> str:
        """Return the person, or the picture where the people are not known."""
        return self._people[index]

    def picture(self, index: int) -> Image:
        """Decode a picture.

        Raises:
            DataError: the picture is damaged.
        """
        picture = cv2.imdecode(np.frombuffer(self._bytes[index], np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise DataError(f"{self._tar}: {self.names[index]} is not a readable picture. Fetch the archive again.")
        return np.ascontiguousarray(picture[:, :, ::-1])

    def groups(self, index: int) -> tuple[str, ...]:
        """Return the conditions of a picture that `qlot eval` reports apart."""
        return conditions(self.picture(index), self.landmarks[index].astype(np.float64), self._layout)

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return the picture `length` times."""
        at: Array = self.landmarks[index].astype(np.float64)
        landmarks = np.broadcast_to(at, (length, *at.shape))
        return Clip(
            frames=(self.picture(index),) * length,
            landmarks=landmarks,
            valid=np.isfinite(landmarks.sum(-1)),
            queries=self.points,
            layout=self.labels,
            identity=self.identity(index),
            source=f"{self._tar.name}:{self.names[index]}",
        )
