"""What each group of modules costs when it alone is quantised: the measurement behind the schemes' table.

One group after another is put under a scheme, everything else staying float32, and the graphs run over the parity clip
in ONNX Runtime beside float32 PyTorch. The graphs are made by the same functions as those of a bundle, from a plan that
names one group.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from qlot.export.bundle.spec import tracker_spec
from qlot.export.calibration.frames import FrameSet, parity_clip
from qlot.export.calibration.record import RecordedInputs, record
from qlot.export.confidence.known import confidence_of
from qlot.export.graphs.schemes import Arithmetic, SchemePlan, plan_for
from qlot.export.graphs.stages import Stage, make_stages
from qlot.export.parity.reference import PARITY_LENGTH, record_reference
from qlot.export.parity.spread import Spread
from qlot.export.targets.base import Graph
from qlot.export.targets.onnx import convert as target
from qlot.export.targets.onnx.converter import OnnxConverter
from qlot.model.fuse import fuse
from qlot.model.layout import Layout
from qlot.model.qlot import QLOT
from qlot.model.torch_network import TorchNetwork, one_thread, write_mask
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import StageName, StageSpec, TrackerSpec
from qlot.runtime.geometry import FloatArray
from qlot.runtime.network.pixels import network_input
from qlot.runtime.network.recurrence import Features, Gate, Network, steps
from qlot.runtime.network.replay import run_frames
from qlot.runtime.network.sessions import open_session
from qlot.runtime.network.sessions.base import Session
from qlot.runtime.network.state import State, cold_start

COLD_EVERY = 5  # frames: each of these parity frames also starts cold
WHOLE = "the scheme as exported"

QuantisedScheme = Literal["w8", "w8a8"]
SCHEMES: tuple[QuantisedScheme, ...] = ("w8", "w8a8")
_INT8: dict[QuantisedScheme, Arithmetic] = {"w8": "int8 weights", "w8a8": "int8"}


@dataclass(frozen=True)
class Unit:
    """A group of modules that is quantised as one, by their paths in the fused network.

    Attributes:
        name: for people.
        stage: the graph it is part of.
        paths: what full paths of its modules match.
        schemes: those that have an arithmetic for it; int8 products are convolutions and linear layers with one bias
            for all landmarks only.
    """

    name: str
    stage: StageName
    paths: re.Pattern[str]
    schemes: tuple[QuantisedScheme, ...] = SCHEMES


def units(backbone_stages: int) -> tuple[Unit, ...]:
    """List the groups of a network, every weight of 1,024 values or more in exactly one of them."""
    return (
        Unit("stem 1", "extractor", re.compile(r"model\.backbone\.stem(\.(stem1|pad)(\..*)?)?")),
        *(Unit(f"stem {i}", "extractor", re.compile(rf"model\.backbone\.stem\.stem{i}\D?(\..*)?")) for i in (2, 3, 4)),
        *(
            Unit(f"stage {i + 1}", "extractor", re.compile(rf"model\.backbone\.stages\.{i}(\..*)?"))
            for i in range(backbone_stages)
        ),
        Unit("laterals", "extractor", re.compile(r"model\.pyramid\.lateral\..*")),
        Unit("fuses and sums", "extractor", re.compile(r"model\.pyramid(\.fuse\..*)?")),
        Unit("global context", "extractor", re.compile(r"model\.pyramid\.context")),
        Unit("coarser templates", "extractor", re.compile(""), ("w8",)),
        Unit("finest template", "refiner", re.compile(""), ("w8",)),
        _refiner("patch matrices", r"encoder\.branches\.\d+", ("w8",)),
        _refiner("branch linears", r"encoder\.branches\.\d+\.linear"),
        _refiner("correlation 1", r"encoder\.correlation\.0"),
        _refiner("correlation 2", r"encoder\.correlation\.2"),
        _refiner("FiLM", r"encoder\.film"),
        _refiner("state encoder", r"encoder\.state\..*"),
        _refiner("context layer", r"encoder\.context", ("w8",)),
        _refiner("context features", r"encoder\.context_features"),
        _refiner("write route", r"mixer\.write_route"),
        _refiner("write logits", r"mixer", ("w8",)),
        _refiner("read route", r"mixer\.read_route"),
        _refiner("read logits", r"mixer\.read_logits"),
        _refiner("slot values", r"mixer\.(value|slot_read)", ("w8",)),
        _refiner("slot attention", r"mixer\.slot_qkv", ("w8",)),
        _refiner("slot MLP", r"mixer\.slot_mlp_(in|out)", ("w8",)),
        _refiner("local", r"mixer\.local"),
        _refiner("local FiLM", r"mixer\.local_film"),
        _refiner("mixer out", r"mixer\.out"),
        _refiner("gates", r"gates"),
        _refiner("hidden linear", r"hidden_linear"),
        _refiner("heads", r"heads"),
        _refiner("outputs", r"(delta|covariance)"),
    )


def _refiner(name: str, paths: str, schemes: tuple[QuantisedScheme, ...] = SCHEMES) -> Unit:
    return Unit(name, "refiner", re.compile(rf"model\.refiner\.{paths}"), schemes)


def alone(plan: SchemePlan, scheme: QuantisedScheme, unit: Unit) -> SchemePlan:
    """Return the plan of a scheme that names one group and keeps all else float32, in storage too."""
    return replace(plan, groups={unit.name: unit.paths}, arithmetic={unit.name: _INT8[scheme]}, kept="float32")


@dataclass(frozen=True)
class Cost:
    """What one group costs under a scheme: distances from float32 PyTorch, over frames and landmarks, in pixels of the
    network input.

    Attributes:
        unit: name of the group, or `WHOLE`.
        scheme: w8 or w8a8.
        saved: bytes by which the graphs are smaller than in float32.
        cold_first: after the first step from a cold start.
        cold_last: after its last step.
        tracked: frames' results where the state is carried over.
    """

    unit: str
    scheme: QuantisedScheme
    saved: int
    cold_first: Spread
    cold_last: Spread
    tracked: Spread


@dataclass(frozen=True, eq=False)
class Study:
    """A deployed network and what it is measured on.

    Attributes:
        stages: extractor and refiner.
        spec: constants of the tracker.
        reference: a free run of float32 PyTorch, the first frame cold.
        cold: what float32 PyTorch makes of the frames of `_cold_runs`.
        feeds: recorded inputs of each stage; none are needed for w8.
    """

    stages: Mapping[StageName, Stage]
    spec: TrackerSpec
    reference: GoldenSequence
    cold: Sequence[Sequence[NDArray[np.float32]]]
    feeds: RecordedInputs

    @property
    def size(self) -> int:
        """Side of the network input in pixels."""
        return self.spec.preprocessing.size

    @functools.cached_property
    def floats(self) -> dict[StageName, Graph]:
        """The graphs in float32."""
        return self._graphs(plan_for("onnx", "fp32"))

    @functools.cached_property
    def engine(self) -> str:
        """What runs the graphs."""
        return _session(self.stages["refiner"], self.floats["refiner"]).engine

    def costs(self, scheme: QuantisedScheme) -> Iterator[Cost]:
        """Yield the cost of each group that there is under a scheme, then that of the scheme as exported."""
        plan, floats = plan_for("onnx", scheme), self.floats
        for unit in units(len(self.stages["extractor"].module.model.backbone.stages)):
            if scheme in unit.schemes:
                graph = self._graph(unit.stage, alone(plan, scheme, unit))
                if graph.data == floats[unit.stage].data:
                    continue  # the network has no such weights there
                yield self._cost(unit.name, scheme, {**floats, unit.stage: graph})
        yield self._cost(WHOLE, scheme, self._graphs(plan))

    @functools.cached_property
    def _traced(self) -> dict[StageName, ModelProto]:
        return {name: target.trace(stage) for name, stage in self.stages.items()}

    @functools.cached_property
    def _features(self) -> dict[bytes, Features]:
        """Results of the float extractor by image, which serve every group of the refiner: 2.4 MB each at 224 px."""
        return {}

    def _graphs(self, plan: SchemePlan) -> dict[StageName, Graph]:
        return {name: self._graph(name, plan) for name in self.stages}

    @functools.cached_property
    def _ranges(self) -> tempfile.TemporaryDirectory[str]:
        """Where the ranges of each stage are kept: all plans read the same."""
        return tempfile.TemporaryDirectory()

    def _graph(self, name: StageName, plan: SchemePlan) -> Graph:
        traced, ranges = copy.deepcopy(self._traced[name]), Path(self._ranges.name) / f"{name}.json"
        return target.under(traced, self.stages[name], plan, self.feeds.get(name), ranges)

    def _cost(self, name: str, scheme: QuantisedScheme, graphs: Mapping[StageName, Graph]) -> Cost:
        saved = sum(len(self.floats[n].data) - len(g.data) for n, g in graphs.items())
        known = self._features if graphs["extractor"] is self.floats["extractor"] else {}
        running = _Graphs(self.size, {n: _session(self.stages[n], g) for n, g in graphs.items()}, known)
        cold, tracked = self._errors(running)
        return Cost(name, scheme, saved, Spread.of(cold[:, 0]), Spread.of(cold[:, -1]), Spread.of(tracked))

    def _errors(self, running: Network) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return distances of cold starts (frames, K, N), and of tracked frames' results (T - 1, N)."""
        points = np.array(self.spec.layout.points)
        found = _cold_runs(running, self.reference, points)
        cold = [_distances(*runs) for runs in zip(found, self.cold, strict=True)]
        results = [frame[-1].landmarks[0] for frame in run_frames(running, self.reference, points)]
        wanted = [x[count - 1] for x, count in zip(self.reference.landmarks, self.reference.steps, strict=True)]
        return np.array(cold), _distances(results[1:], wanted[1:])


@one_thread()
def prepare(model: QLOT, layout: Layout, metadata: Mapping[str, str], calibration: FrameSet | None) -> Study:
    """Return a network with its reference run over the parity clip, and its calibration inputs.

    Args:
        model: the network.
        layout: the landmarks.
        metadata: the checkpoint's, which may hold its confidence.
        calibration: clip for a scheme with int8 activations.

    Raises:
        ExportError: the network does not track the face of the parity clip, or of the calibration clip.
    """
    stages = TorchNetwork(model, layout)
    confidence = confidence_of(metadata, stages, model.config, layout)
    spec = tracker_spec(model.config, layout, confidence)
    points = torch.tensor(layout.points, dtype=torch.float32)
    fused = fuse(model, points, mask=write_mask(layout), lowering=OnnxConverter().default_lowering)
    reference = record_reference(stages, spec, parity_clip(), PARITY_LENGTH)
    made = make_stages(fused)
    feeds = record(made, spec, calibration) if calibration else {}
    cold = list(_cold_runs(stages, reference, layout.points))
    return Study({s.name: s for s in made}, spec, reference, cold, feeds)


@dataclass(frozen=True, eq=False)
class _Graphs:
    """Converted stages in the engine; `known` are results of the extractor by image, and gets those that are new."""

    size: int
    sessions: Mapping[StageName, Session]
    known: dict[bytes, Features]

    def extract(self, image: FloatArray) -> Features:
        """Run the extractor."""
        key = hashlib.sha256(image.tobytes()).digest()
        if key not in self.known:
            self.known[key] = self.sessions["extractor"].run({"image": image})
        return self.known[key]

    def refine(self, features: Features, state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run one step."""
        out = self.sessions["refiner"].run({**features, "landmarks": state.landmarks, "hidden": state.hidden})
        return out["displacement"], out["covariance"], out["hidden_out"]


def _session(stage: Stage, graph: Graph) -> Session:
    spec = StageSpec(file="", iterations=stage.iterations, inputs=stage.inputs, outputs=stage.outputs, macs=0, ops={})
    return open_session("onnx", graph.data, spec, stage.name)


def _cold_runs(
    running: Network, reference: GoldenSequence, points: NDArray[np.float64]
) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the landmarks (N, 7) after each step of every `COLD_EVERY`-th frame, started cold."""
    gate, count = Gate(float(reference.gate[0]), float(reference.gate[1])), int(reference.steps[0])
    start = cold_start(points, running.size, reference.hidden.shape[-1])
    for crop in reference.crops[::COLD_EVERY]:
        image = network_input(crop)
        yield [s.landmarks[0] for s in steps(running, running.extract(image), start, count, gate)]


def _distances(found: Sequence[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Distance of each landmark, (., N); what is not finite is infinitely far."""
    off = (np.array(found, np.float64) - np.array(wanted))[..., :2]
    return np.nan_to_num(np.hypot(off[..., 0], off[..., 1]), nan=np.inf)
