"""Frames from a camera."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2

from qlot.runtime.errors import VideoError
from qlot.runtime.media.video import Frame


class CameraReader:
    """Frames of a camera, stamped on arrival by a monotonic clock that starts at the first frame.

    Args:
        source: device index, or an address that OpenCV can open (a network stream).

    Raises:
        VideoError: it cannot be opened, or delivers no frame.
    """

    total: int | None = None

    def __init__(self, source: int | str = 0) -> None:
        self._source = source
        # OpenCV would print a line for each backend that it tries.
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            self._capture = cv2.VideoCapture(source)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not self._capture.isOpened():
            raise VideoError(
                f"camera {source} cannot be opened: is it connected, unused by other programs, and are you allowed to "
                "use it (Linux: read access to /dev/video*; macOS: Privacy & Security > Camera)?"
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a queue would hand out frames that are already old

    def __iter__(self) -> Iterator[Frame]:
        start = 0.0
        index = 0
        try:
            while True:
                delivered, bgr = self._capture.read()
                now = time.perf_counter()
                if not delivered:
                    break
                start = start or now
                yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), now - start, index)
                index += 1
        finally:
            self._capture.release()
        if not index:
            raise VideoError(f"camera {self._source} was opened but delivered no frame")

    def remarks(self) -> list[str]:
        """Nothing is assumed or skipped."""
        return []
