"""How soon a tracker says that a face is no longer there: it is covered whole, or gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from qlot.benchmarks.faces.trackers import Ours
from qlot.metrics.faceless import texture
from qlot.runtime.media.video import FALLBACK_RATE
from qlot.runtime.tracking.result import Status, TrackResult
from qlot.training.data.clip import Clip, Image
from qlot.training.evaluation.stills import label_box
from qlot.training.evaluation.video import make_tracker

SEEN: Final = 25  # frames before
AFTER: Final = 25
WAIT: Final = 0.3  # seconds
SEED: Final = 11


@dataclass(frozen=True)
class LeavingScores:
    """Of one clip. Frames from the first without the face to the first that reports none; None: not in this time."""

    gone: int | None
    covered: int | None
    confidence: float  # after `WAIT` of a covered face, over the median before


def leaving_scores(tracker: Ours, clip: Clip, layout: str) -> LeavingScores | None:
    """Track a clip's beginning, then take its face away; None if the weights state no confidence.

    Args:
        tracker: ours.
        clip: labelled in the layout.
        layout: of the landmarks.
    """
    network = tracker.subject.network(layout)
    if not network.fitted:
        return None
    crop = network.spec.preprocessing.crop
    rate = clip.fps or FALLBACK_RATE
    rng = np.random.default_rng(SEED)
    shape = clip.frames[0].shape
    wall = texture(shape[0], shape[1], rng)
    colour = rng.integers(40, 200, 3).tolist()

    def covered(frame: int) -> Image:
        box = label_box(clip, frame, crop)
        picture = clip.frames[frame].copy()
        middle = (round(box.center_x), round(box.center_y))
        cv2.ellipse(
            picture, middle, (round(0.55 * box.side), round(0.6 * box.side)), 0, 0, 360, colour, -1, cv2.LINE_AA
        )
        return picture

    last = min(SEEN + AFTER, len(clip.frames))
    gone = _follow(tracker, clip, layout, (clip.frames[t] if t < SEEN else wall for t in range(last)))
    hidden = _follow(tracker, clip, layout, (clip.frames[t] if t < SEEN else covered(t) for t in range(last)))
    after = hidden[min(last - 1, SEEN + round(WAIT * rate))]
    before = float(np.median([r.confidence for r in hidden[SEEN // 2 : SEEN]]))
    return LeavingScores(_lost(gone), _lost(hidden), after.confidence / before)


def _follow(tracker: Ours, clip: Clip, layout: str, frames: Iterator[Image]) -> list[TrackResult]:
    network, rate = tracker.subject.network(layout), clip.fps or FALLBACK_RATE
    followed = make_tracker(network, tracker.protocol, label_box(clip, 0, network.spec.preprocessing.crop))
    return [followed.update(frame, t / rate) for t, frame in enumerate(frames)]


def _lost(results: list[TrackResult]) -> int | None:
    for i, result in enumerate(results[SEEN:]):
        if result.status is not Status.TRACKING:
            return i
    return None
