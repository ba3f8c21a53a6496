"""Frames for calibration and parity: the sample clip that ships, split in two, or the user's own."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlot.assets import CALIBRATION_FRAMES, PARITY_FRAMES, sample_clip
from qlot.export.errors import ExportError
from qlot.runtime.bundle.limits import printable
from qlot.runtime.media.video import Frame, ImageFolder, VideoReader

MIN_CALIBRATION_FRAMES = 32  # with fewer, the ranges of a static quantisation are an accident
MAX_CALIBRATION_FRAMES = 600  # their recorded inputs are held in memory: about 2 to 4 MB a frame at 224 px


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Decoded frames with time stamps.

    Attributes:
        source: "builtin", or the name of the user's file or folder.
        frames: each (H, W, 3) uint8 RGB with its time stamp in seconds.
        sha256: of shapes and pixels of all frames, in order.
    """

    source: str
    frames: tuple[Frame, ...]
    sha256: str


def calibration_clip(path: Path | None = None) -> FrameSet:
    """Return the built-in calibration frames, or all frames of a video or image folder.

    Raises:
        ExportError: too few or too many frames.
        VideoError: unreadable.
    """
    if path is None:
        return _clip("builtin", list(_sample(CALIBRATION_FRAMES)))
    source = ImageFolder(path) if path.is_dir() else VideoReader(path)
    frames: list[Frame] = []
    for frame in source:
        frames.append(frame)
        if len(frames) > MAX_CALIBRATION_FRAMES:
            raise ExportError(
                f"{path} has more than {MAX_CALIBRATION_FRAMES} frames: cut the clip; all of it would be used."
            )
    if len(frames) < MIN_CALIBRATION_FRAMES:
        raise ExportError(
            f"{path} has {len(frames)} frames, calibration needs at least {MIN_CALIBRATION_FRAMES}: use a longer clip."
        )
    return _clip(printable(path.name), frames)


def parity_clip() -> FrameSet:
    """Return the frames of the sample clip that no built-in calibration sees."""
    return _clip("builtin", list(_sample(PARITY_FRAMES)))


def _sample(wanted: range) -> Iterator[Frame]:
    return itertools.islice(VideoReader(sample_clip()), wanted.start, wanted.stop)


def _clip(source: str, frames: list[Frame]) -> FrameSet:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(np.array(frame.rgb.shape, "<i8").tobytes())
        digest.update(np.ascontiguousarray(frame.rgb).tobytes())
    return FrameSet(source, tuple(frames), digest.hexdigest())


def to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round a network input (1, 3, S, S) in [0, 1] to a picture (S, S, 3), as golden sequences store it."""
    return np.rint(image[0].transpose(1, 2, 0) * 255).clip(0, 255).astype(np.uint8)
