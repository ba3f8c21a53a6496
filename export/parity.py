"""Parity: the same frames through float32 PyTorch and through a bundle, each carrying its own state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from qlot.export.clips import Clip, to_uint8
from qlot.export.errors import ExportError
from qlot.export.schemes import SchemePlan
from qlot.metrics import second_difference
from qlot.model.stages import TorchStages
from qlot.runtime.bundle import Bundle
from qlot.runtime.crop import sample_crop, to_frame
from qlot.runtime.errors import ParityError
from qlot.runtime.golden import GoldenSequence
from qlot.runtime.manifest import ParitySpec, TrackerSpec
from qlot.runtime.replay import ReplayReport, compare, run_frames
from qlot.runtime.result import CropBox, Status
from qlot.runtime.stages import BundleStages
from qlot.runtime.tracker import Tracker

PARITY_LENGTH, GOLDEN_LENGTH = 120, 30  # frames


def record_reference(reference: TorchStages, spec: TrackerSpec, clip: Clip, frames: int) -> GoldenSequence:
    """Track a clip in PyTorch, and record crops, boxes and every state of a free run over them.

    The crops are rounded to uint8 before the run, so that every runtime starts from the same numbers.

    Raises:
        ExportError: the model does not track the face of the clip for that many frames in a row.
    """
    crops, boxes = _track(reference, spec, clip, frames)
    steps = np.full(frames, spec.iterations.tracking, np.int32)
    steps[0] = spec.iterations.cold
    (_, n, _), channels = spec.state.landmarks, spec.state.hidden[2]
    gate = np.array([spec.gate.radius, spec.gate.cutoff], np.float32)
    empty = np.zeros((frames, int(steps.max()), n, 7), np.float32)
    blank = GoldenSequence(
        np.stack(crops), np.array(boxes), steps, empty, np.zeros((frames, n, channels), np.float32), gate
    )
    landmarks, hidden = empty.copy(), blank.hidden.copy()
    for t, states in enumerate(run_frames(reference, blank, np.array(spec.layout.points))):
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


@dataclass(frozen=True, eq=False)
class ParityReport(ReplayReport):
    """A replay, and what the bundle does to the steadiness of a track.

    Attributes:
        flicker: RMS second difference of the frames' results in the picture, over PyTorch's, minus 1.
        flicker_allowed: largest change that passes, up or down: a frozen landmark is no better than a trembling one.
    """

    flicker: float
    flicker_allowed: float

    def check(self) -> None:
        """Raise ParityError unless the replay passed and the track is as steady as PyTorch's."""
        super().check()
        if not abs(self.flicker) <= self.flicker_allowed:
            raise ParityError(
                f"flicker changes by {self.flicker:+.1%} against PyTorch, {self.flicker_allowed:.0%} are allowed "
                f"({self.engine})."
            )


def measure(bundle: Bundle, reference: GoldenSequence, plan: SchemePlan) -> ParityReport:
    """Run a bundle free over the frames of a PyTorch sequence of at least three frames."""
    stages = BundleStages(bundle)
    layout, size = bundle.manifest.layout, bundle.manifest.preprocessing.size
    frames = list(run_frames(stages, reference, np.array(layout.points)))
    replayed = compare(iter(frames), reference, layout.names, plan.tolerance_at(size), stages.engine)
    found = [states[-1].landmarks[0] for states in frames]
    wanted = [states[steps - 1] for states, steps in zip(reference.landmarks, reference.steps, strict=True)]
    change = _flicker(found, reference, size) / _flicker(wanted, reference, size) - 1
    values = {f.name: getattr(replayed, f.name) for f in fields(replayed)}
    return ParityReport(**values, flicker=change, flicker_allowed=plan.flicker)


def _flicker(landmarks: Sequence[NDArray[np.float32]], reference: GoldenSequence, size: int) -> float:
    """RMS second difference of a track (T, N, 7) in pixels of the picture, where crops do not move it."""
    boxes = [CropBox(*map(float, row)) for row in reference.boxes]
    track = [to_frame(x[:, :2], box, size) for x, box in zip(landmarks, boxes, strict=True)]
    return second_difference(np.array(track), 1.0)


def parity_spec(report: ReplayReport, reference: TorchStages, clip: Clip) -> ParitySpec:
    """State a report the way the manifest keeps it."""
    return ParitySpec(
        reference=reference.engine,
        clip=clip.source,
        frames=len(report.errors),
        median_px=_rounded(report.median_px),
        p99_px=_rounded(report.p99_px),
        max_px=_rounded(report.max_px),
        max_result_px=_rounded(report.max_result_px),
        max_log_sigma=_rounded(report.sigma),
        worst=report.worst,
        tolerance=report.tolerance,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _track(
    reference: TorchStages, spec: TrackerSpec, clip: Clip, frames: int
) -> tuple[list[np.ndarray], list[tuple[float, float, float]]]:
    tracker = Tracker(spec, reference)
    crops: list[np.ndarray] = []
    boxes: list[tuple[float, float, float]] = []
    for frame in clip.frames:
        result = tracker.update(frame.rgb, frame.timestamp)
        box = result.crop
        if result.status is not Status.TRACKING or box is None:
            crops, boxes = [], []
            continue
        crops.append(to_uint8(sample_crop(frame.rgb, CropBox(box.center_x, box.center_y, box.side), reference.size)))
        boxes.append((box.center_x, box.center_y, box.side))
        if len(crops) == frames:
            return crops, boxes
    raise ExportError(
        f"the model tracks the face of the sample clip for {len(crops)} frames in a row, {frames} are needed to check "
        "a bundle: are these trained weights, and is the layout in the canonical frame?"
    )
