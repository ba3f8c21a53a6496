"""The benchmark's clips as files: JPEG pictures as a camera would deliver them, and where the landmarks exactly are."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.benchmarks.jitter.protocol import JitterProtocol, MotionSpec
from qlot.runtime.partial import written_whole
from qlot.training.data.clip import Array, DataError, Image

LANDMARK_SETS = ("lm68", "mediapipe478")  # by mesh vertex: of the 68 points, and of FaceMesh's


@dataclass(frozen=True, eq=False)
class JpegFrames(Sequence[Image]):
    """Pictures that are decoded when they are asked for."""

    files: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> JpegFrames: ...
    def __getitem__(self, index: int | slice) -> Image | JpegFrames:
        if isinstance(index, slice):
            return JpegFrames(self.files[index])
        picture = cv2.imdecode(np.frombuffer(self.files[index], np.uint8), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            raise DataError(f"frame {index} of a rendered clip is not a picture: delete the folder of clips")
        return np.asarray(picture, np.uint8)


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """One face going through one motion."""

    face: int  # seed of its scene
    motion: MotionSpec
    times: Array  # (T,) seconds since the end of the lead-in
    frames: Sequence[Image]  # T pictures (H, W, 3) uint8 RGB
    landmarks: Mapping[str, Array]  # by landmark set (T, N, 2): exact, pixels of the frame, pixel centres at integers
    start: tuple[float, float, float]  # the first crop against the rule's: shift x, y over its side, ln side

    @property
    def name(self) -> str:
        """What files and messages call it."""
        return f"face{self.face}-{self.motion.name}"


def disturbed(picture: Image, protocol: JitterProtocol, rng: np.random.Generator) -> bytes:
    """Return a rendered picture (H, W, 3) RGB as the protocol's camera delivers it: sensor noise, then JPEG."""
    noise = protocol.noise
    sigma = np.sqrt(noise.read**2 + noise.shot * picture.astype(np.float32))
    noisy = picture + sigma * rng.standard_normal(picture.shape, np.float32)
    levels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", levels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, noise.jpeg_quality])
    return data.tobytes()


def write_clip(folder: Path, clip: RenderedClip, frames: JpegFrames, protocol: JitterProtocol) -> Path:
    """Write a clip under its name, whole or not at all, and return the file."""
    path = folder / f"{clip.name}.npz"
    arrays: dict[str, Any] = {
        "protocol": protocol.digest(),
        "jpeg": np.frombuffer(b"".join(frames.files), np.uint8),
        "ends": np.cumsum([len(data) for data in frames.files]),
        "start": clip.start,
        **clip.landmarks,
    }
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    return path


def read_clip(folder: Path, face: int, motion: MotionSpec, protocol: JitterProtocol) -> RenderedClip | None:
    """Return a clip from its file; None if there is none, or it was rendered by another protocol.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / f"face{face}-{motion.name}.npz"
    if not path.exists():
        return None
    try:
        with np.load(path) as stored:
            if str(stored["protocol"]) != protocol.digest():
                return None
            data, ends = stored["jpeg"].tobytes(), stored["ends"].tolist()
            landmarks = {name: stored[name] for name in LANDMARK_SETS}
            x, y, scale = stored["start"].tolist()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise DataError(f"{path}: not a readable clip ({e}); delete it to have it rendered again") from e
    files = tuple(data[a:b] for a, b in zip([0, *ends], ends, strict=False))
    return RenderedClip(face, motion, protocol.times(motion), JpegFrames(files), landmarks, (x, y, scale))


def digest(clips: Sequence[RenderedClip]) -> str:
    """Hash all pictures and landmarks: runs with the same digest saw the same frames."""
    total = hashlib.sha256()
    for clip in clips:
        total.update(clip.name.encode())
        for picture in clip.frames:
            total.update(picture.tobytes())
        for name in LANDMARK_SETS:
            total.update(_bytes(clip.landmarks[name]))
    return total.hexdigest()


def _bytes(array: NDArray[np.float64]) -> bytes:
    return np.ascontiguousarray(array, np.float64).tobytes()
