"""One rendered scene on disk: pictures as JPEG, and the numbers from which any vertex's landmarks follow exactly."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.runtime.partial import written_whole
from qlot.training.data.clip import Array, DataError, Image
from qlot.training.data.synthetic import ict
from qlot.training.data.synthetic.motion import FaceState
from qlot.training.data.synthetic.scene import Scene, scene_from_json, scene_to_json

_QUALITY = 95
_FACE = ict.FACE.stop  # vertices whose visibility is kept


@dataclass(frozen=True, eq=False)
class Record:
    """L frames of a scene over a continuous motion."""

    scene: Scene
    states: tuple[FaceState, ...]  # L
    fps: float
    size: int  # pixels of a side
    jpegs: tuple[bytes, ...]  # L
    unhidden: NDArray[np.bool_]  # (L, 9409) vertices of the face that nothing of the head hides
    uncovered: NDArray[np.bool_]  # (L, 9409) with no occluder before them

    def picture(self, frame: int) -> Image:
        """Return a frame as (size, size, 3) RGB.

        Raises:
            ValueError: the stored picture is damaged.
        """
        decoded = cv2.imdecode(np.frombuffer(self.jpegs[frame], np.uint8), cv2.IMREAD_COLOR_RGB)
        if decoded is None or decoded.shape != (self.size, self.size, 3):
            raise ValueError(f"frame {frame} is not a picture of {self.size} x {self.size}")
        return np.asarray(decoded)

    def write(self, path: Path) -> None:
        """Write the record; the file appears whole or not at all."""
        lengths = np.array([len(jpeg) for jpeg in self.jpegs])
        arrays = {
            "scene": np.array(scene_to_json(self.scene)),
            "fps": np.array(self.fps),
            "size": np.array(self.size),
            "time": np.array([state.time for state in self.states]),
            "rotation": np.array([state.rotation for state in self.states]),
            "translation": np.array([state.translation for state in self.states]),
            "shift": np.array([state.shift for state in self.states]),
            "expression": np.stack([state.expression for state in self.states]),
            "jpeg": np.frombuffer(b"".join(self.jpegs), np.uint8),
            "jpeg_length": lengths,
            "unhidden": np.packbits(self.unhidden, axis=1),
            "uncovered": np.packbits(self.uncovered, axis=1),
        }
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record.

        Raises:
            DataError: the file is missing, damaged, or not a rendered scene.
        """
        try:
            with np.load(path) as stored:
                arrays = {name: stored[name] for name in stored.files}
            ends = np.cumsum(arrays["jpeg_length"])
            whole = arrays["jpeg"].tobytes()
            if ends[-1] != len(whole):
                raise ValueError("pictures are cut off")
            jpegs = tuple(whole[end - length : end] for end, length in zip(ends, arrays["jpeg_length"], strict=True))
            return cls(
                scene_from_json(str(arrays["scene"]), str(path)),
                _states(arrays),
                float(arrays["fps"]),
                int(arrays["size"]),
                jpegs,
                np.unpackbits(arrays["unhidden"], axis=1, count=_FACE).astype(bool),
                np.unpackbits(arrays["uncovered"], axis=1, count=_FACE).astype(bool),
            )
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a readable rendered scene ({error}); delete it and render again") from error


def encode(picture: Image) -> bytes:
    """Return a picture as JPEG without chroma subsampling: lips and irises keep their edges."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    done, coded = cv2.imencode(".jpg", picture[..., ::-1], [*settings, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444])
    assert done
    return coded.tobytes()


def _states(arrays: dict[str, Array]) -> tuple[FaceState, ...]:
    names = ("time", "rotation", "translation", "shift", "expression")
    return tuple(
        FaceState(float(time), tuple(rotation.tolist()), tuple(translation.tolist()), tuple(shift.tolist()), expression)
        for time, rotation, translation, shift, expression in zip(*(arrays[name] for name in names), strict=True)
    )
