"""Each stage alone: what PyTorch met on a free run is put to a bundle's stage, step by step, teacher-forced.

The refiner gets the float features and PyTorch's own state, so that nothing an extractor or an earlier step did is in
its error. The extractor's features are compared as signals, and go through the float refiner, so that their error has
the same unit. Features are those of the network that was converted, in float32 and in the bundle's lowering; every
displacement, covariance and hidden state is held against the network as defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.parity.spread import Check, Spread
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import StageName, ToleranceSpec
from qlot.runtime.geometry import FloatArray
from qlot.runtime.network.pixels import network_input
from qlot.runtime.network.recurrence import Features, Gate, Network, gate_factor
from qlot.runtime.network.state import State

Array = NDArray[np.float64]
Answer = tuple[FloatArray, FloatArray, FloatArray]  # displacement (1, N, 2) px, covariance (1, N, 3), hidden (1, N, C)


@dataclass(frozen=True, eq=False)
class Witness:
    """Stages that remember what the refiner was asked, and what it answered."""

    stages: Network
    calls: list[tuple[State, Answer]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Side of the network input in pixels."""
        return self.stages.size

    def extract(self, image: FloatArray) -> Features:
        """Run the extractor on an image (1, 3, S, S), RGB in [0, 1]."""
        return self.stages.extract(image)

    def refine(self, features: Features, state: State) -> Answer:
        """Run one step and keep it."""
        answer = self.stages.refine(features, state)
        self.calls.append((state, answer))
        return answer


@dataclass(frozen=True, eq=False)
class FloatGraphs:
    """The stages as they were converted, in float32 PyTorch: their features have the form that the bundle's have."""

    stages: Sequence[Stage]
    size: int

    def extract(self, image: FloatArray) -> Features:
        """Run the extractor on an image (1, 3, S, S), RGB in [0, 1]."""
        return self._run("extractor", {"image": image})

    def refine(self, features: Features, state: State) -> Answer:
        """Run one step."""
        out = self._run("refiner", {**features, "landmarks": state.landmarks, "hidden": state.hidden})
        return out["displacement"], out["covariance"], out["hidden_out"]

    @torch.inference_mode()
    def _run(self, name: StageName, feeds: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        stage = next(s for s in self.stages if s.name == name)
        outputs = stage.module(*(torch.from_numpy(feeds[t.name]) for t in stage.inputs))
        return {t.name: value.numpy() for t, value in zip(stage.outputs, outputs, strict=True)}


@dataclass(frozen=True, eq=False)
class StageErrors:
    """Errors of one stage over M teacher-forced steps.

    Attributes:
        name: of the stage.
        px: (M, N) distance of the displacements before the gate, pixels of the network input.
        sigma: (M, N) the larger error of the two ln sigma.
        rho: (M, N) error of artanh rho.
        hidden: (M, N) largest error of the hidden state's channels.
        gate: (M, N) error of the gate factor k.
        last: (M,) whether the step was its frame's last one.
        psnr: dB by output, of an extractor: 20 log10 of the reference's range over the RMS error, over all frames.
        psnr_frames: (T,) the same of each frame alone, by the same range.
    """

    name: StageName
    px: Array
    sigma: Array
    rho: Array
    hidden: Array
    gate: Array
    last: NDArray[np.bool_]
    psnr: Mapping[str, float]
    psnr_frames: Mapping[str, Array] = field(default_factory=dict)

    @property
    def spread(self) -> Spread:
        """Of the distances, px."""
        return Spread.of(self.px)

    @property
    def figures(self) -> dict[str, Spread]:
        """All errors but the distances, by name."""
        named = {
            "ln sigma": self.sigma,
            "artanh rho": self.rho,
            "hidden state": self.hidden,
            "gate factor k": self.gate,
        }
        return {name: Spread.of(errors) for name, errors in named.items()}


@dataclass(frozen=True, eq=False)
class Bounded:
    """A bounded figure, the tensor that it is of, and what each call contributes.

    Attributes:
        check: the figure over all calls, and its limit.
        stage: whose fault it is.
        tensor: output of that stage; None for all features of an extractor, as the float refiner answers to them.
        calls: the same figure of each call alone, (M,) steps or, of an extractor's output, (T,) frames; NaN where the
            call is not bounded. If the figure is beyond its limit, so is that of at least one call, as a rule.
    """

    check: Check
    stage: StageName
    tensor: str | None
    calls: Array

    @property
    def of_frames(self) -> bool:
        """Whether `calls` counts frames, not steps."""
        return self.stage == "extractor" and self.tensor is not None


@dataclass(frozen=True, eq=False)
class StagesReport:
    """Extractor and refiner, each alone, and what is allowed: of either as much as of both together."""

    stages: tuple[StageErrors, ...]
    tolerance: ToleranceSpec
    plan: SchemePlan
    gate: Gate

    @property
    def checks(self) -> tuple[Check, ...]:
        """What is bounded; the earlier steps of a cold frame count in the median alone, as in the free run."""
        found: list[Check] = []
        for s in self.stages:
            found += [b.check for b in self._of_steps(s)]
            if signals := self._of_signals(s):
                found.append(min(signals, key=lambda b: b.check.value).check)
        return tuple(found)

    @property
    def bounded(self) -> tuple[Bounded, ...]:
        """The same with what each call contributes, and every output of the extractor, not the worst alone."""
        return tuple(b for s in self.stages for b in (*self._of_signals(s), *self._of_steps(s)))

    def _of_steps(self, s: StageErrors) -> list[Bounded]:
        results = np.where(s.last, s.px.max(1), np.nan)
        sigma, hidden = s.sigma.max(1), s.hidden.max(1)
        figures = [
            ("displacement", "median", s.spread.median, self.plan.median_px, "px", np.median(s.px, 1)),
            (
                "displacement", "largest error of a frame's last step", float(np.nanmax(results)), self.tolerance.px,
                "px", results,
            ),
            ("covariance", "largest error of ln sigma", float(sigma.max()), self.tolerance.log_sigma, "ln px", sigma),
            ("hidden_out", "largest error of the hidden state", float(hidden.max()), self.plan.hidden, "", hidden),
        ]  # fmt: skip
        return [
            Bounded(
                Check("a", f"{s.name} alone", figure, value, limit, unit),
                s.name,
                tensor if s.name == "refiner" else None,
                calls,
            )
            for tensor, figure, value, limit, unit, calls in figures
        ]

    def _of_signals(self, s: StageErrors) -> list[Bounded]:
        return [
            Bounded(
                Check("a", f"{s.name} alone", f"PSNR of {name}", value, self.plan.psnr, "dB", "at least"),
                s.name,
                name,
                s.psnr_frames.get(name, np.array([])),
            )
            for name, value in s.psnr.items()
        ]


def measure_stages(
    bundle: Bundle,
    ours: Network,
    floats: FloatGraphs,
    calls: Sequence[tuple[State, Answer]],
    run: GoldenSequence,
    plan: SchemePlan,
    gate: Gate,
) -> StagesReport:
    """Put every step of a run to each stage of a bundle.

    Args:
        bundle: an open bundle.
        ours: its graphs.
        floats: what it was converted from.
        calls: PyTorch's refiner calls, in the order of the run.
        run: gives crops and steps.
        plan: the bundle's scheme.
        gate: at which gate factors are compared.
    """
    errors: dict[StageName, list[dict[str, Array]]] = {"extractor": [], "refiner": []}
    signals = {t.name: _Signal() for t in bundle.manifest.stages["extractor"].outputs}
    waiting = iter(calls)
    for crop, count in zip(run.crops, run.steps, strict=True):
        image = network_input(crop)
        clean, found = floats.extract(image), ours.extract(image)
        for name, signal in signals.items():
            signal.add(found[name], clean[name])
        for _ in range(int(count)):
            state, wanted = next(waiting)
            errors["extractor"].append(_errors(floats.refine(found, state), wanted, gate))
            errors["refiner"].append(_errors(ours.refine(clean, state), wanted, gate))
    last = np.concatenate([np.arange(n) == n - 1 for n in run.steps])
    psnr = {name: signal.psnr for name, signal in signals.items()}
    psnr_frames = {name: signal.psnr_frames for name, signal in signals.items()}
    stages = tuple(
        StageErrors(
            name=name,
            **{key: np.stack([step[key] for step in found]) for key in found[0]},
            last=last,
            psnr=psnr if name == "extractor" else {},
            psnr_frames=psnr_frames if name == "extractor" else {},
        )
        for name, found in errors.items()
    )
    return StagesReport(stages, plan.tolerance, plan, gate)


@dataclass
class _Signal:
    """Running sums of one tensor's error and its reference's range."""

    squares: list[float] = field(default_factory=list)  # of each frame
    count: int = 0
    low: float = np.inf
    high: float = -np.inf

    def add(self, found: FloatArray, wanted: FloatArray) -> None:
        self.squares.append(float(np.sum(np.square(found.astype(np.float64) - wanted))))
        self.count += found.size
        self.low, self.high = min(self.low, float(wanted.min())), max(self.high, float(wanted.max()))

    @property
    def psnr(self) -> float:
        return self._decibels(sum(self.squares) / self.count)

    @property
    def psnr_frames(self) -> Array:
        return np.array([self._decibels(s * len(self.squares) / self.count) for s in self.squares])

    def _decibels(self, mean_square: float) -> float:
        rms = mean_square**0.5
        if not np.isfinite(rms):
            return -np.inf
        return 20 * float(np.log10((self.high - self.low) / rms)) if rms else np.inf


def _errors(found: Answer, wanted: Answer, gate: Gate) -> dict[str, Array]:
    """Compare two answers of one step, (N,) each; what is not finite is infinitely far."""
    delta, covariance, hidden = (a[0].astype(np.float64) - b[0] for a, b in zip(found, wanted, strict=True))
    factors = [gate_factor(d, c, gate)[0, :, 0] for d, c, _ in (found, wanted)]
    off = {
        "px": np.hypot(delta[:, 0], delta[:, 1]),
        "sigma": np.abs(covariance[:, :2]).max(1),
        "rho": np.abs(covariance[:, 2]),
        "hidden": np.abs(hidden).max(1),
        "gate": np.abs(factors[0] - factors[1]),
    }
    return {name: np.nan_to_num(values, nan=np.inf) for name, values in off.items()}
