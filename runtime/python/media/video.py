"""Frames from video files and image folders, upright, with their own time stamps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.runtime.errors import VideoError

Image = NDArray[np.uint8]
MOST_STRETCH = 8.0  # of a pixel; a file that says more is mistaken
FALLBACK_RATE = 30.0  # frames per second where the source does not say
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Frame:
    """One decoded frame."""

    rgb: Image  # (H, W, 3), upright
    timestamp: float  # seconds
    index: int  # 0, 1, ... over the frames that were delivered


class FrameSource(Protocol):
    """What `qlot track` reads from: a file, an image folder, or a camera. Time stamps strictly increase."""

    @property
    def total(self) -> int | None:
        """Expected number of frames, where it is known; a container may be wrong about it."""

    def __iter__(self) -> Iterator[Frame]:
        """Deliver the frames in order."""

    def remarks(self) -> list[str]:
        """Say what was assumed or skipped so far, a sentence each."""


class VideoReader:
    """Frames of a video file; every iteration starts at the beginning.

    The display matrix (rotation and mirroring by which phones mark how they were held) is applied. Where pixels are not
    square, the shorter side of a pixel is stretched, so that frames get wider or taller, never smaller. Time stamps are
    the file's own, so a variable frame rate stays one. A frame whose stamp is missing, or not above the one before,
    gets the one before plus 1/`fps` and is counted in `estimated`. Packets that cannot be decoded and frames that the
    decoder marks as corrupt are skipped and counted in `broken`.

    Raises:
        VideoError: the file is missing, is no video, has no video stream, is turned by an angle that is not a multiple
            of 90 degrees, or (while iterating) yields no frame at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken = 0
        self.estimated = 0
        self._stretched: str | None = None  # what was done to pixels that are not square
        with self._opened() as (container, stream):
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else FALLBACK_RATE
            self.total = int(stream.frames) or None
            if self.total is None and container.duration:
                self.total = round(container.duration / av.time_base * self.fps)

    def __iter__(self) -> Iterator[Frame]:
        self.broken = self.estimated = index = 0
        last: float | None = None
        with self._opened() as (container, stream):
            for decoded in self._decoded(container, stream):
                time = decoded.time
                if time is None or (last is not None and time <= last):
                    time = 0.0 if last is None else last + 1 / self.fps
                    self.estimated += 1
                yield Frame(upright(self._square(decoded, stream), self._matrix(decoded)), time, index)
                index, last = index + 1, time
        if not index:
            raise VideoError(
                f"{self.path}: not one frame could be decoded ({self.broken} broken); is the file complete?"
            )

    def remarks(self) -> list[str]:
        """Say how many frames were skipped or had their time stamp estimated."""
        out = []
        if self.broken:
            out.append(f"{self.broken} broken packets or frames were skipped")
        if self.estimated:
            out.append(
                f"{self.estimated} frames had no usable time stamp: 1/{self.fps:g} s after the one before assumed"
            )
        return out + ([self._stretched] if self._stretched else [])

    def _square(self, frame: av.VideoFrame, stream: av.VideoStream) -> Image:
        """Return the picture with square pixels, as it is stored otherwise."""
        ratio = float(stream.sample_aspect_ratio or 1)
        width, height = frame.width, frame.height
        if not 1 / MOST_STRETCH <= ratio <= MOST_STRETCH:
            self._stretched = f"the file says that its pixels are {ratio:g} times as wide as high: taken as square"
        else:
            width, height = round(width * max(ratio, 1)), round(height / min(ratio, 1))
        if (width, height) == (frame.width, frame.height):
            return np.asarray(frame.to_ndarray(format="rgb24"))
        self._stretched = (
            f"pixels are {ratio:g} times as wide as high: frames were stretched from {frame.width}x{frame.height} to "
            f"{width}x{height}, and landmarks are in pixels of that size"
        )
        size: dict[str, Any] = {"width": width, "height": height, "interpolation": "BICUBIC"}
        return np.asarray(frame.to_ndarray(format="rgb24", **size))

    @contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        try:
            container = av.open(str(self.path), metadata_errors="replace")
        except (av.FFmpegError, OSError) as e:
            raise VideoError(f"{self.path} cannot be opened as a video: {e.strerror}") from e
        with container:
            if not container.streams.video:
                raise VideoError(f"{self.path} has no video stream")
            yield container, container.streams.video[0]

    def _decoded(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # the container itself is damaged here: what came before still counts
                self.broken += 1
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.broken += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.broken += 1
                else:
                    yield frame

    def _matrix(self, frame: av.VideoFrame) -> NDArray[np.int64]:
        data = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return np.eye(2, dtype=np.int64)
        matrix = np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2] / 65536
        turn = np.rint(matrix).astype(np.int64)
        if np.abs(matrix - turn).max() > 1e-3 or not np.array_equal(turn @ turn.T, np.eye(2)):
            raise VideoError(
                f"{self.path} is marked as turned by {frame.rotation} degrees; only multiples of 90 are understood. "
                "Re-encode it upright."
            )
        return turn


def upright(rgb: Image, matrix: NDArray[np.int64]) -> Image:
    """Turn and mirror an image by a display matrix [[a, b], [c, d]] of -1, 0, 1: x' = a x + c y, y' = b x + d y.

    Convention of the track header matrix, ISO/IEC 14496-12, 6.2.2.
    """
    if matrix[0, 0] == 0:
        rgb, matrix = rgb.transpose(1, 0, 2), matrix[::-1]
    return np.ascontiguousarray(rgb[:: int(matrix[1, 1]), :: int(matrix[0, 0])])


class ImageFolder:
    """The PNG and JPEG files of a folder as frames at 30 per second, ordered by name with numbers by value.

    Files that cannot be decoded are skipped and counted in `broken`; the frames after them keep their place in time.

    Raises:
        VideoError: no image inside, or none that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken = 0
        self._files = sorted(
            (p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")),
            key=lambda p: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", p.name)],
        )
        if not self._files:
            raise VideoError(f"{path} holds no images ({', '.join(IMAGE_SUFFIXES)})")
        self.total = len(self._files)

    def __iter__(self) -> Iterator[Frame]:
        self.broken = 0
        for place, file in enumerate(self._files):
            try:
                bgr = cv2.imdecode(np.frombuffer(file.read_bytes() or b"\0", np.uint8), cv2.IMREAD_COLOR)
            except (OSError, cv2.error):  # not readable, or larger than OpenCV takes
                bgr = None
            if bgr is None:
                self.broken += 1
                continue
            yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), place / FALLBACK_RATE, place - self.broken)
        if self.broken == self.total:
            raise VideoError(f"{self.path}: none of the {self.total} images could be decoded")

    def remarks(self) -> list[str]:
        """Say the frame rate that was assumed, and how many files were skipped."""
        out = [f"images have no time stamps: {FALLBACK_RATE:g} frames/s assumed"]
        return out + ([f"{self.broken} images could not be decoded and were skipped"] if self.broken else [])
