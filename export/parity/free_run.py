"""The free run: the same frames through float32 PyTorch and through a bundle, each carrying its own state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from qlot.export.calibration.frames import FrameSet
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.parity.spread import Check, Spread
from qlot.metrics import interocular, second_difference
from qlot.model.torch_network import TorchNetwork
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import LayoutSpec, ParitySpec
from qlot.runtime.errors import ParityError
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate, gate_factor
from qlot.runtime.network.replay import ReplayReport, compare, run_frames
from qlot.runtime.network.state import State
from qlot.runtime.tracking.crop import to_frame

SHOWN_GATE = Gate(2.0, 0.05)  # compared where the bundle's own gate is off


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


def measure(bundle: Bundle, stages: BundleNetwork, reference: GoldenSequence, plan: SchemePlan) -> ParityReport:
    """Run a bundle free over the frames of a PyTorch sequence of at least three frames."""
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
