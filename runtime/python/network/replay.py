"""Replay a golden sequence through a bundle, free-running: the bundle's own state goes from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import ToleranceSpec, WorstSpec
from qlot.runtime.errors import BundleError, ParityError
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.pixels import network_input
from qlot.runtime.network.recurrence import Gate, Network, steps
from qlot.runtime.network.state import State, cold_start, move_crop


@dataclass(frozen=True, eq=False)
class ReplayReport:
    """Errors of a free-running replay against its reference, in pixels of the network input.

    Attributes:
        errors: (T, K, N) distance of each landmark after each step; NaN beyond a frame's steps.
        sigma: largest error of ln sigma over all frames, steps and landmarks.
        hidden: largest error of the hidden state after any frame.
        names: the N landmark names.
        tolerance: largest errors that pass.
        engine: what ran the graphs.
    """

    errors: NDArray[np.float64]
    sigma: float
    hidden: float
    names: tuple[str, ...]
    tolerance: ToleranceSpec
    engine: str

    @property
    def max_px(self) -> float:
        """Largest distance after any step; infinite if any is not a number."""
        return float(self._known.max())

    @property
    def max_result_px(self) -> float:
        """Largest distance after a frame's last step, which is what an app sees and what the tolerance bounds."""
        return max(largest for _, largest in self.per_frame)

    @property
    def median_px(self) -> float:
        """Median distance over frames, steps and landmarks."""
        return float(np.median(self._known))

    @property
    def p99_px(self) -> float:
        """99th percentile of the distances."""
        return float(np.quantile(self._known, 0.99, method="higher"))

    @property
    def per_frame(self) -> list[tuple[float, float]]:
        """Median and largest distance of each frame after its last step."""
        last = [frame[~np.isnan(frame[:, 0])][-1] for frame in self.errors]
        return [(float(np.median(x)), float(x.max())) for x in last]

    @property
    def per_step(self) -> list[tuple[float, float]]:
        """Median and largest distance at each step of a frame, over all frames that have it."""
        steps = np.moveaxis(self.errors, 1, 0)
        return [(float(np.nanmedian(x)), float(np.nanmax(x))) for x in steps]

    @property
    def worst(self) -> WorstSpec:
        """Frame, step (from 1) and landmark of the largest distance."""
        return self._at(self.errors)

    @property
    def worst_result(self) -> WorstSpec:
        """The same among the frames' last steps."""
        earlier = ~np.isnan(np.roll(self.errors, -1, axis=1))
        earlier[:, -1] = False
        return self._at(np.where(earlier, np.nan, self.errors))

    def _at(self, errors: NDArray[np.float64]) -> WorstSpec:
        frame, step, landmark = np.unravel_index(int(np.nanargmax(errors)), errors.shape)
        return WorstSpec(frame=int(frame), step=int(step) + 1, landmark=self.names[landmark])

    @property
    def passed(self) -> bool:
        """Whether every frame's landmarks and every ln sigma are within the tolerance."""
        return self.max_result_px <= self.tolerance.px and self.sigma <= self.tolerance.log_sigma

    def check(self) -> None:
        """Raise ParityError, naming the worst frame, step and landmark, unless the replay passed."""
        if not self.max_result_px <= self.tolerance.px:
            w = self.worst_result
            raise ParityError(
                f"the replay is {self.max_result_px:.4g} px off at frame {w.frame}, step {w.step}, "
                f"landmark {w.landmark!r}; {self.tolerance.px:g} px of the network input are allowed ({self.engine})."
            )
        if not self.passed:
            raise ParityError(
                f"the replay is {self.sigma:.4g} off in ln sigma, {self.tolerance.log_sigma:g} allowed ({self.engine})."
            )

    @property
    def _known(self) -> NDArray[np.float64]:
        return self.errors[~np.isnan(self.errors)]


def run_frames(stages: Network, golden: GoldenSequence, points: NDArray[np.float64]) -> Iterator[list[State]]:
    """Yield the states after each step of every frame of a sequence, starting cold.

    Args:
        stages: whatever runs the network.
        golden: gives crops, boxes, steps and gate; its states are not read.
        points: (N, 3) canonical points, y up.
    """
    gate = Gate(float(golden.gate[0]), float(golden.gate[1]))
    boxes = [CropBox(*map(float, row)) for row in golden.boxes]
    state = cold_start(points, stages.size, golden.hidden.shape[-1])
    for t, crop in enumerate(golden.crops):
        state = move_crop(state, boxes[max(t - 1, 0)], boxes[t], stages.size)
        image = network_input(crop)
        frame = list(steps(stages, stages.extract(image), state, int(golden.steps[t]), gate))
        state = frame[-1]
        yield frame


def compare(
    states: Iterator[list[State]], golden: GoldenSequence, names: tuple[str, ...], tolerance: ToleranceSpec, engine: str
) -> ReplayReport:
    """Measure a run against the states stored in a sequence. What is not finite counts as infinitely far."""
    errors = np.full(golden.landmarks.shape[:3], np.nan)
    sigma = hidden = 0.0
    for t, frame in enumerate(states):
        for k, state in enumerate(frame):
            off = state.landmarks[0].astype(np.float64) - golden.landmarks[t, k]
            errors[t, k] = np.nan_to_num(np.hypot(off[:, 0], off[:, 1]), nan=np.inf)
            sigma = max(sigma, float(np.nan_to_num(np.abs(off[:, 2:4]), nan=np.inf).max()))
        off = np.abs(frame[-1].hidden[0] - golden.hidden[t])
        hidden = max(hidden, float(np.nan_to_num(off, nan=np.inf).max()))
    return ReplayReport(errors, sigma, hidden, names, tolerance, engine)


def replay(bundle: Bundle, threads: int = 1) -> ReplayReport:
    """Replay a bundle's golden sequence in this runtime, and the unrolled refiner on the frames it fits.

    Raises:
        BundleError: the bundle has no golden sequence.
        ParityError: its unrolled refiner differs from its single steps.
        BundleError: a graph cannot be loaded or run.
    """
    golden, tolerance = bundle.golden(), bundle.manifest.golden.tolerance
    if golden is None or tolerance is None:
        raise BundleError(
            "the bundle cannot be verified: it was exported with --no-golden. Export it again without that, or run "
            "`qlot verify --torch`."
        )
    stages = BundleNetwork(bundle, threads)
    layout = bundle.manifest.layout
    points = np.array(layout.points)
    report = compare(run_frames(stages, golden, points), golden, layout.names, tolerance, stages.engine)
    if stages.unrolled_steps:
        check_unrolled(stages, golden, points, tolerance.px)
    return report


def check_unrolled(
    stages: BundleNetwork, golden: GoldenSequence, points: NDArray[np.float64], tolerance: float
) -> None:
    """Hold the unrolled refiner against single steps of the same bundle, from a cold start on the first frame.

    Raises:
        ParityError: they differ by more than `tolerance` pixels.
    """
    gate = Gate(float(golden.gate[0]), float(golden.gate[1]))
    state = cold_start(points, stages.size, golden.hidden.shape[-1])
    image = network_input(golden.crops[0])
    features = stages.extract(image)
    *_, single = steps(stages, features, state, stages.unrolled_steps, gate)
    unrolled = stages.refine_unrolled(features, state, gate)
    off = float(np.abs(unrolled.landmarks - single.landmarks)[..., :2].max())
    if not off <= tolerance:
        raise ParityError(f"the unrolled refiner is {off:.4g} px off its single steps; {tolerance:g} px are allowed.")
