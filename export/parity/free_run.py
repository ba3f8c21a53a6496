"""Parity: the same frames through float32 PyTorch and through a bundle, each carrying its own state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from qlot.export.calibration.frames import FrameSet, to_uint8
from qlot.export.errors import ExportError
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.parity.spread import Check, Spread
from qlot.metrics import interocular, second_difference
from qlot.model.torch_network import TorchNetwork
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import LayoutSpec, ParitySpec, TrackerSpec
from qlot.runtime.errors import ParityError
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate, Network, gate_factor
from qlot.runtime.network.replay import ReplayReport, compare, run_frames
from qlot.runtime.network.state import State
from qlot.runtime.tracking.crop import sample_crop, to_frame
from qlot.runtime.tracking.result import CropBox, Status
from qlot.runtime.tracking.tracker import Tracker

PARITY_LENGTH, GOLDEN_LENGTH = 120, 30  # frames
SHOWN_GATE = Gate(2.0, 0.05)  # compared where the bundle's own gate is off


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


@dataclass(frozen=True, eq=False)
class ParityReport(ReplayReport):
    """A replay in more figures than a runtime needs, and what the bundle does to the steadiness of a track.

    Attributes:
        median_allowed: largest median distance that passes, px.
        eyes: (T,) the reference's outer-eye distance after each frame, px of the network input; None if the layout
            has none.
        groups: indices of landmarks by name.
        uncertainty: (T, K, N) errors of "ln sigma" (the larger of two), "rho" and "gate factor k"; NaN as in `errors`.
        gate: at which k was compared.
        flicker: RMS second difference of the frames' results in the picture, over PyTorch's, minus 1.
        flicker_allowed: largest change that passes, up or down: a frozen landmark is no better than a trembling one.
    """

    flicker: float
    flicker_allowed: float
    median_allowed: float
    eyes: NDArray[np.float64] | None
    groups: Mapping[str, tuple[int, ...]]
    uncertainty: Mapping[str, NDArray[np.float64]]
    gate: Gate

    @property
    def spread(self) -> Spread:
        """Of all distances, px of the network input."""
        return Spread.of(self.errors)

    @property
    def results(self) -> NDArray[np.float64]:
        """Distances (T, N) after each frame's last step, px."""
        last = (~np.isnan(self.errors[..., 0])).sum(1) - 1
        return self.errors[np.arange(len(last)), last]

    @property
    def percent(self) -> NDArray[np.float64] | None:
        """Distances (T, K, N) in % of the frame's outer-eye distance."""
        return None if self.eyes is None else 100 * self.errors / self.eyes[:, None, None]

    @property
    def checks(self) -> tuple[Check, ...]:
        """What of the free run is bounded, the steadiness apart."""
        return (
            Check("b", "free run", "median", self.median_px, self.median_allowed, "px"),
            Check("b", "free run", "largest error of frames' results", self.max_result_px, self.tolerance.px, "px"),
            Check("b", "free run", "largest error of ln sigma", self.sigma, self.tolerance.log_sigma, "ln px"),
        )

    def check(self) -> None:
        """Raise ParityError unless the replay passed and the track is as steady as PyTorch's."""
        super().check()
        if not self.median_px <= self.median_allowed:
            raise ParityError(
                f"the median error of the replay is {self.median_px:.4g} px; {self.median_allowed:g} px of the network "
                f"input are allowed ({self.engine})."
            )
        if not abs(self.flicker) <= self.flicker_allowed:
            raise ParityError(
                f"flicker changes by {self.flicker:+.1%} against PyTorch, {self.flicker_allowed:.0%} are allowed "
                f"({self.engine})."
            )


def measure(bundle: Bundle, reference: GoldenSequence, plan: SchemePlan) -> ParityReport:
    """Run a bundle free over the frames of a PyTorch sequence of at least three frames."""
    stages = BundleNetwork(bundle)
    layout, size = bundle.manifest.layout, bundle.manifest.preprocessing.size
    frames = list(run_frames(stages, reference, np.array(layout.points)))
    replayed = compare(iter(frames), reference, layout.names, plan.tolerance, stages.engine)
    found = [states[-1].landmarks[0] for states in frames]
    wanted = [states[steps - 1] for states, steps in zip(reference.landmarks, reference.steps, strict=True)]
    change = _flicker(found, reference, size) / _flicker(wanted, reference, size) - 1
    values = {f.name: getattr(replayed, f.name) for f in fields(replayed)}
    gate = Gate(*map(float, reference.gate)) if reference.gate[0] else SHOWN_GATE
    return ParityReport(
        **values,
        flicker=change,
        flicker_allowed=plan.flicker,
        median_allowed=plan.median_px,
        eyes=_eyes(wanted, layout),
        groups=layout.groups,
        uncertainty=_uncertainty(frames, reference, gate),
        gate=gate,
    )


def _eyes(landmarks: Sequence[NDArray[np.float32]], layout: LayoutSpec) -> NDArray[np.float64] | None:
    if layout.outer_eyes is None:
        return None
    return interocular(np.array(landmarks, np.float64)[..., :2], layout.outer_eyes)


def _uncertainty(
    frames: Sequence[Sequence[State]], reference: GoldenSequence, gate: Gate
) -> dict[str, NDArray[np.float64]]:
    """Compare covariances, and how much of each step the gate lets through or would.

    A state holds the gated displacement; the gate depends on its direction alone, which gating leaves as it is.
    """
    errors = {name: np.full(reference.landmarks.shape[:3], np.nan) for name in ("ln sigma", "rho", "gate factor k")}
    for t, states in enumerate(frames):
        for k, state in enumerate(states):
            ours, theirs = state.landmarks, reference.landmarks[t, k][None]
            off = np.abs(ours[0].astype(np.float64) - theirs[0])
            errors["ln sigma"][t, k] = off[:, 2:4].max(1)
            errors["rho"][t, k] = np.abs(np.tanh(ours[0, :, 4]) - np.tanh(theirs[0, :, 4]))
            factors = [gate_factor(x[..., 5:7], x[..., 2:5], gate)[0, :, 0] for x in (ours, theirs)]
            errors["gate factor k"][t, k] = np.abs(factors[0] - factors[1])
    return errors


def _flicker(landmarks: Sequence[NDArray[np.float32]], reference: GoldenSequence, size: int) -> float:
    """RMS second difference of a track (T, N, 7) in pixels of the picture, where crops do not move it."""
    boxes = [CropBox(*map(float, row)) for row in reference.boxes]
    track = [to_frame(x[:, :2], box, size) for x, box in zip(landmarks, boxes, strict=True)]
    return second_difference(np.array(track), 1.0)


def parity_spec(report: ReplayReport, reference: TorchNetwork, clip: FrameSet) -> ParitySpec:
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
