"""Frames without a face: how often the tracker finds one all the same, and how soon it finds a face that comes back.

The frames are made from labelled clips, so that noise, light and what surrounds a face are real, or given by the user.
The tracker runs as in an app: it starts without a detector and searches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from qlot.metrics import faceless
from qlot.runtime.geometry import CropBox
from qlot.runtime.media.video import FALLBACK_RATE, ImageFolder, VideoReader
from qlot.runtime.tracking.result import Status
from qlot.training.data.clip import Clip, Image
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.results import FalseAcquisitions, Reacquisition
from qlot.training.evaluation.stills import label_box
from qlot.training.evaluation.subject import ReadyNetwork
from qlot.training.evaluation.video import make_tracker

Rng = np.random.Generator
Maker = Callable[[Clip, ReadyNetwork, Rng], Iterator[Image]]
HOLD = 30  # frames for which a picture of a folder is shown
COVER = 0.55  # half side of the patch over a face, of the crop's side: hair and chin go too
ON_FACE = 0.25  # distance of the tracker's crop from the label's and difference of ln side, of the side


def cover(clip: Clip, network: ReadyNetwork, rng: Rng) -> Iterator[Image]:
    """Yield the frames with one blotchy patch that follows the face and hides it; surroundings and noise stay."""
    patch = faceless.blotches(256, rng)
    for t, frame in enumerate(clip.frames):
        box = label_box(clip, t, network.spec.preprocessing.crop)
        x0, y0, x1, y1 = faceless.bounds(frame, box.center_x, box.center_y, COVER * box.side)
        out = frame.copy()
        if x1 > x0 and y1 > y0:
            out[y0:y1, x0:x1] = cv2.resize(patch, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        yield out


def shuffle(clip: Clip, network: ReadyNetwork, rng: Rng) -> Iterator[Image]:
    """Yield the frames cut into tiles of a sixth of the face's crop, put together in one random order."""
    side = max(4, int(label_box(clip, 0, network.spec.preprocessing.crop).side / 6))
    height, width = clip.frames[0].shape[:2]
    rows, columns = height // side, width // side
    order = rng.permutation(rows * columns)
    for frame in clip.frames:
        yield faceless.shuffled(frame, (0, 0), (side, side), columns, order)


def texture(clip: Clip, _: ReadyNetwork, rng: Rng) -> Iterator[Image]:
    """Yield no photograph at all, with fresh noise in every frame."""
    height, width = clip.frames[0].shape[:2]
    base = faceless.texture(height, width, rng).astype(np.float64)
    for _frame in clip.frames:
        yield np.rint(base + rng.normal(0, 4, base.shape)).clip(0, 255).astype(np.uint8)


KINDS: dict[str, Maker] = {
    "face covered": cover,
    "tiles shuffled": shuffle,
    "texture": texture,
}


def user_frames(path: Path) -> Iterator[Image]:
    """Yield the frames of a video; of a folder each picture for `HOLD` frames.

    Raises:
        VideoError: there is nothing to read.
    """
    source, hold = (ImageFolder(path), HOLD) if path.is_dir() else (VideoReader(path), 1)
    for frame in source:
        for _ in range(hold):
            yield frame.rgb


def false_acquisitions(
    kind: str, network: ReadyNetwork, protocol: EvaluationProtocol, sequences: Iterable[Iterable[Image]]
) -> FalseAcquisitions:
    """Run a fresh tracker over each sequence of frames without a face and count how often it finds one.

    A face that is found and then kept counts once among the acquisitions, in every frame among the phantoms.
    """
    frames = acquisitions = phantoms = 0
    for sequence in sequences:
        tracker, before = make_tracker(network, protocol), Status.SEARCHING
        for t, frame in enumerate(sequence):
            status = tracker.update(frame, t / FALLBACK_RATE).status
            found = status is Status.TRACKING
            frames, phantoms = frames + 1, phantoms + found
            acquisitions += found and before is not Status.TRACKING
            before = status
    return FalseAcquisitions(
        kind=kind,
        frames=frames,
        acquisitions=acquisitions,
        per_1000_frames=1000 * acquisitions / max(frames, 1),
        phantom_frames=phantoms / max(frames, 1),
    )


def reacquisition(
    network: ReadyNetwork, protocol: EvaluationProtocol, clip: Clip, rng: Rng, hide: Maker = cover
) -> Reacquisition:
    """Show the first third of a clip, hide the face in the second, and see how soon it is found in the third.

    Found means tracking with a crop that lies on the labels' crop (`ON_FACE`). A tracker that never let go finds it at
    once: `let_go` tells the two apart.
    """
    rate, third = clip.fps or FALLBACK_RATE, len(clip.frames) // 3
    hidden = list(hide(clip, network, rng))
    frames = [*clip.frames[:third], *hidden[third : 2 * third], *clip.frames[2 * third :]]
    start = label_box(clip, 0, network.spec.preprocessing.crop)
    tracker = make_tracker(network, protocol, start)
    let_go, waited = False, None
    for t, frame in enumerate(frames):
        result = tracker.update(frame, t / rate)
        if t == 2 * third - 1:
            let_go = result.status is not Status.TRACKING
        if t >= 2 * third and waited is None and result.crop and result.status is Status.TRACKING:
            truth = label_box(clip, t, network.spec.preprocessing.crop)
            waited = t - 2 * third if _near(result.crop, truth) else None
    return Reacquisition(
        source=clip.source,
        let_go=let_go,
        frames=waited,
        milliseconds=None if waited is None else 1000 * waited / rate,
    )


def _near(found: CropBox, truth: CropBox) -> bool:
    shift = math.hypot(found.center_x - truth.center_x, found.center_y - truth.center_y) / truth.side
    return shift <= ON_FACE and abs(math.log(found.side / truth.side)) <= ON_FACE
