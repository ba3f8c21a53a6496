"""Write frames with their time stamps as an MP4."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from qlot.runtime.errors import VideoError
from qlot.runtime.media.video import Image
from qlot.runtime.partial import partial_path

TICK = Fraction(1, 60_000)  # seconds; exact for 24, 25, 30 and 29.97 frames/s, and MPEG-4 Part 2 allows no finer one
ENCODERS = ("libx264", "mpeg4")
FIRST_DURATION = Fraction(1, 30)  # seconds a video of a single frame lasts
# zerolatency on one thread: a frame is encoded inside `write`, never beside a tracker whose time is being measured. It
# also means no B-frames, so that the container derives each frame's duration from the time stamps alone.
OPTIONS = {
    "libx264": {"crf": "20", "preset": "veryfast", "tune": "zerolatency", "threads": "1"},
    "mpeg4": {"qscale": "3", "threads": "1"},
}


class VideoWriter:
    """H.264 (yuv420p) in MP4; frames keep their time stamps, to 1/60000 s. A context manager.

    The file appears under its name on `close`; leaving the block by an exception removes what was written. Odd sizes
    are padded on the right and below by repeating the border, since yuv420p needs even ones; positions stay valid.
    What a video cannot hold is fitted, and `remarks` says so: a frame of another size than the first is scaled into it
    with black borders, a start before time 0 is moved to 0, a frame that is not later than the one before by a tick is
    left out. Where the FFmpeg at hand cannot encode H.264, MPEG-4 Part 2 is written.

    Raises:
        VideoError: none of the encoders is available; the disk refuses.
    """

    def __init__(self, path: Path, encoders: Sequence[str] = ENCODERS) -> None:
        usable = [name for name in encoders if name in av.codecs_available]
        if not usable:
            raise VideoError(f"cannot write {path}: this FFmpeg has none of the encoders {', '.join(encoders)}")
        self.path = path
        self.frames = 0
        self.encoder = usable[0]
        self.fitted = self.left_out = 0
        self._wanted = encoders[0]
        self._shift = Fraction(0)  # seconds by which the video is late
        self._partial = partial_path(path)
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._shape: tuple[int, ...] = ()
        self._pts = 0
        self._interval = 0

    def remarks(self) -> list[str]:
        """Say what was fitted so far, a sentence each."""
        out, name = [], self.path.name
        if self.encoder != self._wanted:
            out.append(f"{name}: no {self._wanted} here, encoded with {self.encoder}")
        if self._shift:
            out.append(f"{name} starts at 0: the input starts {float(self._shift):g} s before it")
        if self.fitted:
            first = f"{self._shape[1]}x{self._shape[0]}"
            out.append(f"{name}: {self.fitted} frames of another size were scaled into the first one's {first}")
        if self.left_out:
            out.append(f"{name}: {self.left_out} frames are left out, too close in time to the one before")
        return out

    def write(self, rgb: Image, timestamp: float) -> None:
        """Append a frame (H, W, 3) shown from `timestamp` (seconds) on."""
        if self._stream is None:
            self._shift = max(Fraction(0), -Fraction(timestamp))
            self._stream = self._open(rgb)
        pts = round((Fraction(timestamp) + self._shift) / TICK)
        if self.frames and pts <= self._pts:
            self.left_out += 1
            return
        if rgb.shape != self._shape:
            self.fitted += 1
            rgb = _fitted(rgb, self._shape)
        frame = av.VideoFrame.from_ndarray(np.pad(rgb, [(0, s % 2) for s in rgb.shape[:2]] + [(0, 0)], mode="edge"))
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)
        frame.pts, frame.time_base = pts, TICK
        self._interval = pts - self._pts if self.frames else round(FIRST_DURATION / TICK)
        self._encode(frame)
        self._pts = pts
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name. Without a frame there is no file."""
        if self._container is None:
            return
        try:
            self._encode(None)
            self._container.close()
            self._partial.replace(self.path)
        except (av.FFmpegError, OSError) as e:
            raise VideoError(f"cannot write {self.path}: {e.strerror}") from e
        finally:
            self.discard()

    def discard(self) -> None:
        """Stop and remove what was written; harmless after `close`."""
        container, self._container, self._stream = self._container, None, None
        try:
            if container is not None:
                container.close()
        except av.FFmpegError:
            pass  # the file goes away with its error
        finally:
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _open(self, rgb: Image) -> av.VideoStream:
        try:
            self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
            stream = self._container.add_stream(self.encoder, options=OPTIONS.get(self.encoder, {}))
        except (av.FFmpegError, OSError) as e:
            raise VideoError(f"cannot write {self.path}: {e.strerror}") from e
        self._shape = rgb.shape
        stream.height, stream.width = (s + s % 2 for s in rgb.shape[:2])
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = TICK
        stream.codec_context.colorspace = Colorspace.ITU601
        stream.codec_context.color_range = ColorRange.MPEG
        return stream

    def _encode(self, frame: av.VideoFrame | None) -> None:
        assert self._container is not None and self._stream is not None
        try:
            for packet in self._stream.encode(frame):
                # Counts for the last frame only, which no successor ends: it lasts as long as the one before.
                packet.duration = self._interval
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as e:
            raise VideoError(f"cannot write {self.path}: {e.strerror}") from e


def _fitted(rgb: Image, shape: tuple[int, ...]) -> Image:
    """Scale a picture into another size, its proportions kept, black around it."""
    height, width = rgb.shape[:2]
    scale = min(shape[0] / height, shape[1] / width)
    size = (max(1, min(shape[1], round(width * scale))), max(1, min(shape[0], round(height * scale))))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    out: Image = np.zeros(shape, np.uint8)
    top, left = (shape[0] - size[1]) // 2, (shape[1] - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = small
    return out
