"""Which operators take a stage's time: ONNX Runtime's own profile of the graphs, as the engine has fused them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import StageName
from qlot.runtime.errors import BundleError, QlotError
from qlot.runtime.network.pixels import network_input

STAGES: Final[tuple[StageName, ...]] = ("extractor", "refiner")
WARM, CALLS = 10, 100


@dataclass(frozen=True)
class OperatorTime:
    """One operator of a graph, or all of one type.

    Attributes:
        name: of the node, or how many nodes there are of the type.
        kind: its type.
        milliseconds: of a call of the stage, mean.
        share: of all operators' time.
    """

    name: str
    kind: str
    milliseconds: float
    share: float


@dataclass(frozen=True)
class StageProfile:
    """A stage's operators, the slowest first, and what lies between them."""

    stage: StageName
    operators: tuple[OperatorTime, ...]
    kinds: tuple[OperatorTime, ...]
    between: float  # ms of a call that no operator took: the engine's own


def profile(bundle: Bundle) -> tuple[StageProfile, ...]:
    """Run the extractor and one iteration on the golden sequence's last crop, profiled, on one thread.

    The profile itself costs some microseconds an operator: shares are to be trusted, times less.

    Raises:
        QlotError: the bundle is of another target: LiteRT's Python package has no profile of operators.
        BundleError: it has no golden sequence.
    """
    if bundle.manifest.target != "onnx":
        raise QlotError(
            f"{bundle.path}: only onnx bundles are profiled: LiteRT's Python package tells no operator's time."
        )
    golden = bundle.golden()
    if golden is None:
        raise BundleError(f"{bundle.path}: has no golden sequence, whose frame is run: export it without --no-golden.")
    feeds: dict[str, Any] = {"image": network_input(golden.crops[-1]), **golden.last_state}
    profiles = []
    for stage in STAGES:
        outputs, events = _run(bundle, stage, feeds)
        feeds |= outputs
        profiles.append(_summed(stage, events))
    return tuple(profiles)


def _run(bundle: Bundle, stage: StageName, feeds: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    import onnxruntime

    from qlot.runtime.network.sessions.onnx import engine_options

    with tempfile.TemporaryDirectory(prefix="qlot-profile-") as folder:
        options = engine_options(1)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        data = bundle.read(bundle.manifest.stages[stage].file)
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        own = {node.name: np.ascontiguousarray(feeds[node.name]) for node in session.get_inputs()}
        names = [node.name for node in session.get_outputs()]
        for _ in range(WARM + CALLS):
            values = session.run(names, own)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return dict(zip(names, values, strict=True)), events


def _summed(stage: StageName, events: list[dict[str, Any]]) -> StageProfile:
    """Sum a profile's events (Chrome's trace format, microseconds) over the calls after the first ones."""
    begin = sorted(e["ts"] for e in events if e["name"] == "model_run")[WARM]
    calls = [e for e in events if e["name"] == "model_run" and e["ts"] >= begin]
    nodes: dict[tuple[str, str], float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= begin:
            key = event["name"].removesuffix("_kernel_time"), str(event["args"]["op_name"])
            nodes[key] = nodes.get(key, 0.0) + event["dur"] / 1e3 / len(calls)
    whole = sum(nodes.values())
    by_kind: dict[str, list[float]] = {}
    for (_, kind), time in nodes.items():
        by_kind.setdefault(kind, []).append(time)
    operators = [OperatorTime(name, kind, time, time / whole) for (name, kind), time in nodes.items()]
    kinds = [OperatorTime(str(len(t)), kind, sum(t), sum(t) / whole) for kind, t in by_kind.items()]

    def slowest(times: list[OperatorTime]) -> tuple[OperatorTime, ...]:
        return tuple(sorted(times, key=lambda o: -o.milliseconds))

    between = sum(e["dur"] for e in calls) / 1e3 / len(calls) - whole
    return StageProfile(stage, slowest(operators), slowest(kinds), between)
