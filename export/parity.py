"""Parity: the same frames through float32 PyTorch and through a bundle, each carrying its own state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qlot.export.clips import Clip, to_uint8
from qlot.export.errors import ExportError
from qlot.model.stages import TorchStages
from qlot.runtime.bundle import Bundle
from qlot.runtime.crop import sample_crop
from qlot.runtime.golden import GoldenSequence
from qlot.runtime.manifest import ParitySpec, ToleranceSpec, TrackerSpec
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


def measure(bundle: Bundle, reference: GoldenSequence, tolerance: ToleranceSpec) -> ReplayReport:
    """Run a bundle free over the frames of a PyTorch sequence."""
    stages = BundleStages(bundle)
    layout = bundle.manifest.layout
    states = run_frames(stages, reference, np.array(layout.points))
    return compare(states, reference, layout.names, tolerance, stages.engine)


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
