"""Real frames: the sample clip's, forth and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from itertools import islice

from qlot.assets import sample_clip
from qlot.benchmarks.protocol.constants import protocol
from qlot.runtime.errors import QlotError
from qlot.runtime.media.video import Image, VideoReader


@cache
def clip() -> tuple[Image, ...]:
    """Return the protocol's frames, decoded.

    Raises:
        QlotError: the clip is not the one that the protocol names.
    """
    spec, path = protocol().frames, sample_clip()
    if hashlib.sha256(path.read_bytes()).hexdigest() != spec.sha256:
        raise QlotError(f"{path} is not the protocol's clip: install qlot-mobile again")
    return tuple(frame.rgb for frame in islice(VideoReader(path), spec.first, spec.last + 1))


def endless() -> Iterator[tuple[Image, float]]:
    """Yield frames with their time stamps in seconds, for ever."""
    frames, count = clip(), 0
    way = (*range(len(frames)), *range(len(frames) - 2, 0, -1))
    while True:
        yield frames[way[count % len(way)]], count / protocol().frames.rate
        count += 1
