"""Make `docs/tracked.gif`: `python docs/tracked.py BUNDLE`. The sample clip, cut to the face and enlarged."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from qlot.assets import sample_clip
from qlot.runtime import Bundle, Tracker
from qlot.runtime.media.video import VideoReader

FRAMES = slice(120, 248, 2)
CUT = (slice(70, 270), slice(110, 290))  # rows, columns of the clip
SCALE, FINE = 2, 3  # enlargement; bits of a pixel that drawing keeps


def main(bundle: Path) -> None:
    """Track the whole clip, draw a part of it."""
    tracker = Tracker(Bundle.open(bundle))
    pictures = []
    for frame in VideoReader(sample_clip()):
        result = tracker.update(frame.rgb, frame.timestamp)
        rows, columns = CUT
        picture = cv2.resize(frame.rgb[CUT], None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
        if result.landmarks is not None:
            points = (result.landmarks - (columns.start, rows.start) + 0.5) * SCALE - 0.5
            for x, y in np.rint(points * 2**FINE).astype(int):
                cv2.circle(picture, (int(x), int(y)), 14, (60, 230, 90), -1, cv2.LINE_AA, FINE)
        pictures.append(Image.fromarray(picture))
    first, *rest = pictures[FRAMES]
    palette = first.quantize(96)
    frames = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in rest]
    palette.save(Path(__file__).with_suffix(".gif"), save_all=True, append_images=frames, duration=80, loop=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
