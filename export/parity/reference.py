"""What a bundle is held against: float32 PyTorch on tracked frames of the sample clip, recorded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qlot.export.calibration.frames import FrameSet, to_uint8
from qlot.export.errors import ExportError
from qlot.model.torch_network import TorchNetwork
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import TrackerSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.recurrence import Network
from qlot.runtime.network.replay import run_frames
from qlot.runtime.tracking.crop import sample_crop
from qlot.runtime.tracking.result import Status
from qlot.runtime.tracking.tracker import Tracker

PARITY_LENGTH, GOLDEN_LENGTH = 120, 30  # frames


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """A frame (H, W, 3) uint8, where the tracker looked for the next one, and that crop (S, S, 3) uint8."""

    rgb: NDArray[np.uint8]
    box: CropBox
    crop: NDArray[np.uint8]


def track(reference: TorchNetwork, spec: TrackerSpec, clip: FrameSet, frames: int) -> list[TrackedFrame]:
    """Return the first so many frames in a row in which the face is tracked.

    Raises:
        ExportError: there are not so many.
    """
    tracker = Tracker(spec, reference)
    found: list[TrackedFrame] = []
    for frame in clip.frames:
        result = tracker.update(frame.rgb, frame.timestamp)
        box = result.crop
        if result.status is not Status.TRACKING or box is None:
            found = []
            continue
        found.append(TrackedFrame(frame.rgb, box, to_uint8(sample_crop(frame.rgb, box, reference.size))))
        if len(found) == frames:
            return found
    raise ExportError(
        f"the model tracks the face of the sample clip for {len(found)} frames in a row, {frames} are needed to check "
        "a bundle: are these trained weights, and is the layout in the canonical frame?"
    )


def record_reference(reference: TorchNetwork, spec: TrackerSpec, clip: FrameSet, frames: int) -> GoldenSequence:
    """Track a clip in PyTorch, and record crops, boxes and every state of a free run over them.

    The crops are rounded to uint8 before the run, so that every runtime starts from the same numbers.

    Raises:
        ExportError: the model does not track the face of the clip for that many frames in a row.
    """
    tracked = track(reference, spec, clip, frames)
    return record_run(reference, spec, np.stack([f.crop for f in tracked]), [f.box for f in tracked])


def record_run(
    stages: Network, spec: TrackerSpec, crops: NDArray[np.uint8], boxes: Sequence[CropBox]
) -> GoldenSequence:
    """Run free over crops (T, S, S, 3) from a cold start, and record every state."""
    frames = len(crops)
    steps = np.full(frames, spec.iterations.tracking, np.int32)
    steps[0] = spec.iterations.cold
    (_, n, _), channels = spec.state.landmarks, spec.state.hidden[2]
    gate = np.array([spec.gate.radius, spec.gate.cutoff], np.float32)
    empty = np.zeros((frames, int(steps.max()), n, 7), np.float32)
    places = np.array([(b.center_x, b.center_y, b.side) for b in boxes], np.float64)
    blank = GoldenSequence(crops, places, steps, empty, np.zeros((frames, n, channels), np.float32), gate)
    landmarks, hidden = empty.copy(), blank.hidden.copy()
    for t, states in enumerate(run_frames(stages, blank, np.array(spec.layout.points))):
        for k, state in enumerate(states):
            landmarks[t, k] = state.landmarks[0]
        hidden[t] = states[-1].hidden[0]
    return GoldenSequence(blank.crops, blank.boxes, steps, landmarks, hidden, gate)


def first_frames(sequence: GoldenSequence, count: int) -> GoldenSequence:
    """Cut a sequence to its first frames."""
    return replace(
        sequence,
        crops=sequence.crops[:count],
        boxes=sequence.boxes[:count],
        steps=sequence.steps[:count],
        landmarks=sequence.landmarks[:count],
        hidden=sequence.hidden[:count],
    )
