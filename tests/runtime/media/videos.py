"""Video files for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av

from qlot.runtime.media.video import Image

TICK = Fraction(1, 90_000)


def encode(
    path: Path,
    images: Iterable[Image],
    times: Iterable[float],
    rotation: int = 0,
    matrix: Sequence[int] | None = None,
    container: str | None = None,
    group: int = 12,
    pixel: Fraction | None = None,
) -> Path:
    """Write H.264 with the given time stamps; rotation is degrees clockwise for display, pixel width over height."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream("libx264", options={"crf": "10", "bf": "0", "g": str(group)})
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", TICK
        images = list(images)
        stream.height, stream.width = images[0].shape[:2]
        if pixel:
            stream.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio = pixel
        if rotation:
            stream.set_display_rotation(-rotation)
        if matrix:
            stream.set_display_matrix(matrix)
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = round(time / TICK), TICK
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
