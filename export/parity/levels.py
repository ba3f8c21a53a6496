"""Parity in three levels: each stage alone, the free run, the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qlot.export.calibration.frames import FrameSet
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.parity.free_run import ParityReport, measure
from qlot.export.parity.reference import PARITY_LENGTH, TrackedFrame, record_run, track
from qlot.export.parity.spread import Check
from qlot.export.parity.stages import Answer, FloatGraphs, StagesReport, Witness, measure_stages
from qlot.export.parity.task import ExactClip, TaskReport, exact_clips, measure_task
from qlot.model.torch_network import TorchNetwork
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import TrackerSpec
from qlot.runtime.errors import ParityError
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.state import State


@dataclass(frozen=True, eq=False)
class Reference:
    """What float PyTorch did: the free run over the parity clip, its refiner calls in order, and the exact clips."""

    run: GoldenSequence
    calls: Sequence[tuple[State, Answer]]
    exact: tuple[ExactClip, ...]


@dataclass(frozen=True, eq=False)
class Levels:
    """The report: (a) each stage alone, (b) the free run, (c) the task."""

    stages: StagesReport
    free: ParityReport
    task: TaskReport

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every bounded figure, level by level."""
        return (*self.stages.checks, *self.free.checks, *self.task.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """What is out of bounds."""
        return tuple(c for c in self.checks if not c.passed)

    def check(self) -> None:
        """Raise ParityError unless every figure is within its bounds; a bad free run is traced to its stage."""
        alone = [c.text for c in self.failed if c.level == "a"]
        try:
            self.free.check()
        except ParityError as e:
            where = f"Out of bounds alone: {'; '.join(alone)}." if alone else "Each stage alone is within its bounds."
            raise ParityError(f"{e} {where}") from e
        if self.failed:
            raise ParityError(f"{'; '.join(c.text for c in self.failed)} ({self.free.engine}).")


def record_levels(reference: TorchNetwork, spec: TrackerSpec, clip: FrameSet) -> Reference:
    """Run float PyTorch over the parity clip and the exact clips made of it.

    Raises:
        ExportError: the model does not track the face of the clip.
    """
    tracked, run, calls = record_calls(reference, spec, clip)
    return Reference(run, calls, exact_clips(reference, spec, tracked[0]))


def record_calls(
    reference: TorchNetwork, spec: TrackerSpec, clip: FrameSet
) -> tuple[list[TrackedFrame], GoldenSequence, list[tuple[State, Answer]]]:
    """Run float PyTorch over the parity clip: the frames it tracks, its free run, and its refiner calls in order.

    Raises:
        ExportError: the model does not track the face of the clip.
    """
    tracked = track(reference, spec, clip, PARITY_LENGTH)
    witness = Witness(reference)
    run = record_run(witness, spec, np.stack([f.crop for f in tracked]), [f.box for f in tracked])
    return tracked, run, witness.calls


def measure_levels(
    bundle: Bundle, network: BundleNetwork, reference: Reference, stages: Sequence[Stage], plan: SchemePlan
) -> Levels:
    """Hold a bundle against PyTorch.

    Args:
        bundle: an open bundle.
        network: its graphs, opened once for all levels.
        reference: recorded with the weights and the layout of the bundle.
        stages: the float stages it was converted from.
        plan: its scheme.
    """
    free = measure(bundle, network, reference.run, plan)
    floats = FloatGraphs(stages, bundle.manifest.preprocessing.size)
    alone = measure_stages(bundle, network, floats, reference.calls, reference.run, plan, free.gate)
    return Levels(alone, free, measure_task(bundle, network, reference.exact, free, plan))
