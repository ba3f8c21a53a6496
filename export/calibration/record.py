"""On-policy calibration: the float tracker runs over the clip, and what reaches each stage is recorded.

Every refinement step is recorded, cold starts and re-acquisitions included: at regular intervals the tracker is reset,
and half-way between it meets a pause in the time stamps, after which it must find the face again around the last crop.
It searches the whole frame before it answers, so that every frame with a face counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from qlot.export.calibration.frames import MIN_CALIBRATION_FRAMES, FrameSet
from qlot.export.errors import ExportError
from qlot.export.graphs.stages import Stage
from qlot.runtime.bundle.manifest import CalibrationSpec, StageName, TrackerSpec
from qlot.runtime.geometry import FloatArray
from qlot.runtime.network.recurrence import Features
from qlot.runtime.network.state import State
from qlot.runtime.tracking.result import Status
from qlot.runtime.tracking.tracker import Tracker

RESET_EVERY = 25  # frames

RecordedInputs = dict[StageName, list[Mapping[str, NDArray[np.float32]]]]


@dataclass
class RecordingNetwork:
    """The float stages about to be converted, run in PyTorch, with every input kept."""

    stages: Sequence[Stage]
    size: int
    gate: NDArray[np.float32]  # (2,) for the unrolled refiner
    feeds: RecordedInputs = field(default_factory=lambda: {"extractor": [], "refiner": [], "refiner_unrolled": []})
    fresh: bool = False  # no step yet since the last extraction

    def extract(self, image: FloatArray) -> Features:
        """Run and record the extractor on an image (1, 3, S, S)."""
        self.fresh = True
        return self._run("extractor", {"image": image})

    def refine(self, features: Features, state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run and record one refinement step."""
        feeds = {**features, "landmarks": state.landmarks, "hidden": state.hidden}
        if self.fresh:  # where an unrolled refiner would be called
            self.feeds["refiner_unrolled"].append({**feeds, "gate": self.gate})
            self.fresh = False
        out = self._run("refiner", feeds)
        return out["displacement"], out["covariance"], out["hidden_out"]

    @torch.inference_mode()
    def _run(self, name: StageName, feeds: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        stage = next(s for s in self.stages if s.name == name)
        self.feeds[name].append(feeds)
        outputs = stage.module(*(torch.from_numpy(feeds[t.name]) for t in stage.inputs))
        return {t.name: value.numpy() for t, value in zip(stage.outputs, outputs, strict=True)}


def record(stages: Sequence[Stage], spec: TrackerSpec, clip: FrameSet) -> RecordedInputs:
    """Track a clip with the float stages and return the inputs of each.

    Raises:
        ExportError: the face is tracked in fewer frames than calibration needs.
    """
    gate = np.array([spec.gate.radius, spec.gate.cutoff], np.float32)
    recorder = RecordingNetwork(stages, spec.preprocessing.size, gate)
    tracker = Tracker(spec, recorder, offline=True)
    tracked, pause = 0, 0.0
    for i, frame in enumerate(clip.frames):
        if i % RESET_EVERY == 0:
            tracker.reset()
        elif i % RESET_EVERY == RESET_EVERY // 2:
            pause += 2 * spec.tracking.max_gap
        tracked += tracker.update(frame.rgb, frame.timestamp + pause).status is Status.TRACKING
    if tracked < MIN_CALIBRATION_FRAMES:
        raise ExportError(
            f"a face is tracked in {tracked} of {len(clip.frames)} frames of the calibration clip {clip.source!r}; "
            f"at least {MIN_CALIBRATION_FRAMES} are needed: use a clip that shows one face throughout."
        )
    return recorder.feeds


def calibration_spec(clip: FrameSet, feeds: RecordedInputs, stages: Sequence[Stage]) -> CalibrationSpec:
    """State the way the manifest keeps it what was recorded over a clip for these stages."""
    return CalibrationSpec(
        source=clip.source,
        frames=len(clip.frames),
        sha256=clip.sha256,
        calls={s.name: len(feeds[s.name]) for s in stages},
        cold_starts=sum(not feed["hidden"].any() for feed in feeds["refiner"]),
        ranges={s.name: {t.name: _range(feeds[s.name], t.name) for t in s.inputs} for s in stages},
    )


def _range(feeds: Sequence[Mapping[str, NDArray[np.float32]]], name: str) -> tuple[float, float]:
    """Smallest and largest value of an input over all recorded calls."""
    return float(min(f[name].min() for f in feeds)), float(max(f[name].max() for f in feeds))
