"""The first call of a bundle's graphs that is beyond its bound, found in lockstep with float32 PyTorch.

Every call gets PyTorch's own inputs, so that no error is the heir of an earlier one. Bounds and figures are level (a)
of the parity report (`parity/stages.py`): where that passes, nothing is found. A figure is one over all calls; of those
that it is made of, the first that is beyond the limit by itself is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from qlot.export.graphs.schemes import SchemePlan
from qlot.export.parity.free_run import SHOWN_GATE
from qlot.export.parity.spread import Check
from qlot.export.parity.stages import Answer, Bounded, FloatGraphs, StagesReport, measure_stages
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import LayoutSpec, StageName
from qlot.runtime.geometry import FloatArray
from qlot.runtime.network.pixels import network_input, to_bytes
from qlot.runtime.network.recurrence import Features, Gate
from qlot.runtime.network.sessions import open_stage
from qlot.runtime.network.state import State

Tensors = Mapping[str, NDArray[np.float32]]
_COMPONENTS = {"displacement": ("x", "y"), "covariance": ("ln sigma x", "ln sigma y", "artanh rho")}


class UncheckedNetwork:
    """A bundle's graphs that answer whatever they compute, numbers or not; a tracker's refuse what is not finite.

    Args:
        bundle: an open bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.size = bundle.manifest.preprocessing.size
        self._extractor, self._refiner = (open_stage(bundle, name, 1) for name in ("extractor", "refiner"))
        self._of_bytes = self._extractor.inputs[0].dtype == "uint8"
        self.engine = self._extractor.engine

    def extract(self, image: FloatArray) -> Features:
        """Run the extractor on an image (1, 3, S, S), RGB in [0, 1]."""
        return self._extractor.run({"image": to_bytes(image) if self._of_bytes else image})

    def refine(self, features: Features, state: State) -> Answer:
        """Run one step."""
        out = self._refiner.run({**features, "landmarks": state.landmarks, "hidden": state.hidden})
        return out["displacement"], out["covariance"], out["hidden_out"]


@dataclass(frozen=True, eq=False)
class Departure:
    """The first call that is beyond its bound.

    Attributes:
        check: the figure over all calls, and its limit.
        frame: from 0.
        step: from 1; 0 for the extractor.
        stage: whose call it is.
        tensor: its output that is off, or the one that is off most.
        own: the figure of this call alone, in the unit of the check.
        index: of the tensor, where the two are farthest apart.
        where: the same in words: a landmark and a component, or a channel.
        found: the bundle's value there.
        wanted: PyTorch's.
        inputs: of the call.
        ours: what the bundle answers.
        theirs: what PyTorch answers.
        engine: that ran the bundle.
    """

    check: Check
    frame: int
    step: int
    stage: StageName
    tensor: str
    own: float
    index: tuple[int, ...]
    where: str
    found: float
    wanted: float
    inputs: Tensors
    ours: Tensors
    theirs: Tensors
    engine: str


def first_departure(
    bundle: Bundle,
    floats: FloatGraphs,
    calls: Sequence[tuple[State, Answer]],
    run: GoldenSequence,
    plan: SchemePlan,
) -> Departure | None:
    """Find the first call of extractor or refiner that is beyond its bound; None if each stage keeps to them all.

    Args:
        bundle: an open bundle.
        floats: what it was converted from.
        calls: PyTorch's refiner calls, in the order of the run.
        run: gives crops and steps.
        plan: the bundle's scheme, which has the bounds.
    """
    ours = UncheckedNetwork(bundle)
    gate = Gate(*map(float, run.gate)) if run.gate[0] else SHOWN_GATE
    report = measure_stages(bundle, ours, floats, calls, run, plan, gate)
    at = _first(report, run)
    if at is None:
        return None
    bounded, call, frame, step = at
    image = network_input(run.crops[frame])
    if step == 0:
        inputs: Tensors = {"image": image}
        found, wanted = ours.extract(image), floats.extract(image)
    else:
        state, answer = calls[call]
        clean = floats.extract(image)
        inputs = {**clean, "landmarks": state.landmarks, "hidden": state.hidden}
        names = [t.name for t in bundle.manifest.stages["refiner"].outputs]
        found, wanted = (_named(names, a) for a in (ours.refine(clean, state), answer))
    tensor = bounded.tensor or max(wanted, key=lambda name: _relative(found[name], wanted[name]))
    index = _farthest(tensor, found[tensor], wanted[tensor])
    return Departure(
        bounded.check,
        frame,
        step,
        bounded.stage,
        tensor,
        float(bounded.calls[frame if bounded.of_frames else call]),
        index,
        _in_words(tensor, index, bundle.manifest.layout),
        float(found[tensor][index]),
        float(wanted[tensor][index]),
        inputs,
        found,
        wanted,
        ours.engine,
    )


def _first(report: StagesReport, run: GoldenSequence) -> tuple[Bounded, int, int, int] | None:
    """Return the figure, the call's place among all, its frame and step: the first in the order of the run."""
    frames = np.repeat(np.arange(len(run.steps)), run.steps)
    steps = np.concatenate([np.arange(1, n + 1) for n in run.steps])
    candidates = []
    for order, bounded in enumerate(b for b in report.bounded if not b.check.passed):
        call = _call_beyond(bounded)
        frame = call if bounded.of_frames else int(frames[call])
        step = 0 if bounded.stage == "extractor" else int(steps[call])
        candidates.append((frame, step, order, bounded, call))
    if not candidates:
        return None
    frame, step, _, bounded, call = min(candidates, key=lambda c: c[:3])
    return bounded, call, frame, step


def _call_beyond(bounded: Bounded) -> int:
    """Return the first call that is beyond the limit by itself, else the worst."""
    least = bounded.check.bound == "at least"
    signed = -bounded.calls if least else bounded.calls  # NaN, not bounded, is beyond nothing
    beyond = np.flatnonzero(signed > (-bounded.check.limit if least else bounded.check.limit))
    return int(beyond[0]) if beyond.size else int(np.nanargmax(signed))


def _named(names: Sequence[str], answer: Answer) -> Tensors:
    by_name = dict(zip(("displacement", "covariance", "hidden_out"), answer, strict=True))
    return {name: by_name[name] for name in names}


def _off(found: FloatArray, wanted: FloatArray) -> NDArray[np.float64]:
    return np.nan_to_num(np.abs(found.astype(np.float64) - wanted), nan=np.inf)


def _relative(found: FloatArray, wanted: FloatArray) -> float:
    """Largest error over the range of the reference."""
    return float(_off(found, wanted).max() / max(float(np.ptp(wanted)), 1e-12))


def _farthest(tensor: str, found: FloatArray, wanted: FloatArray) -> tuple[int, ...]:
    off = _off(found, wanted)
    if tensor == "covariance":
        off[..., 2] = -1  # artanh rho has no bound
    return cast(tuple[int, ...], tuple(int(i) for i in np.unravel_index(int(off.argmax()), off.shape)))


def _in_words(tensor: str, index: tuple[int, ...], layout: LayoutSpec) -> str:
    if tensor in (*_COMPONENTS, "hidden_out"):
        _, landmark, last = index
        component = _COMPONENTS[tensor][last] if tensor in _COMPONENTS else f"channel {last}"
        return f"landmark {layout.names[landmark]!r}, {component}"
    return f"channel {index[-1]}" if len(index) == 2 else f"channel {index[1]}, place {index[2:]}"
