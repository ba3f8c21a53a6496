"""Where a stage would run: the share that a unit takes, in how many parts, and whether the call pays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from qlot.export.lint.devices import DeviceFamily, tables
from qlot.export.lint.finding import LABEL, LintContext
from qlot.export.lint.graph import GraphNode, StageGraph
from qlot.export.lint.macs import node_macs
from qlot.export.lint.rules_coreml import ane_refusal
from qlot.export.lint.rules_onnx import provider_refusal
from qlot.export.lint.rules_tflite import gpu_refusal, xnnpack_refusal


@dataclass(frozen=True)
class StagePlacement:
    """How a unit would take a stage.

    Attributes:
        stage: which.
        unit: that is asked.
        families: on which it comes out so.
        taken: operations that it takes.
        operations: of the stage, without what only unpacks constants.
        macs_taken: their multiply-accumulates.
        macs: of all, as far as the file says shapes.
        partitions: runs of neighbouring operations that it takes, in the order of the file.
        borders: how often a call passes between the unit and the CPU, inside the stage.
        advice: what follows from that.
        label: that this is a prediction.
    """

    stage: str
    unit: str
    families: tuple[str, ...]
    taken: int
    operations: int
    macs_taken: int
    macs: int
    partitions: int
    borders: int
    advice: str
    label: str = LABEL


def placements(graph: StageGraph, context: LintContext) -> Iterator[StagePlacement]:
    """Yield how each unit of the families takes a stage; families where it comes out alike share one."""
    found: dict[tuple[str, tuple[bool, ...]], list[DeviceFamily]] = {}
    for family in context.families:
        unit = family.unit(graph.target)
        if unit is not None:
            took = tuple(_refusal(graph, node, unit, family) is None for node in graph.computing)
            found.setdefault((unit, took), []).append(family)
    costs = [node_macs(graph, node) for node in graph.computing]
    iterations = context.manifest.iterations
    for (unit, took), families in found.items():
        runs = [key for key, _ in groupby(took)]
        macs = sum(cost for cost, taken in zip(costs, took, strict=True) if taken)
        yield StagePlacement(
            graph.stage,
            unit,
            tuple(f.name for f in families),
            sum(took),
            len(took),
            macs,
            sum(costs),
            sum(runs),
            max(len(runs) - 1, 0),
            "not known: the tables begin with A13"
            if unit == "ane" and not families[0].tier
            else _advice(graph.stage, unit, sum(took), sum(costs), sum(runs), iterations.cold, iterations.tracking),
        )


def _refusal(graph: StageGraph, node: GraphNode, unit: str, family: DeviceFamily) -> str | None:
    if unit == "cpu":
        return None
    if unit == "ane":
        return ane_refusal(graph, node, family)
    if unit == "gpu-delegate":
        return gpu_refusal(graph, node)
    if unit == "xnnpack":
        return xnnpack_refusal(graph, node)
    return provider_refusal(graph, node, unit)


def _advice(stage: str, unit: str, taken: int, macs: int, partitions: int, cold: int, tracking: int) -> str:
    if unit in ("cpu", "xnnpack", "xnnpack-ep"):
        return "one processor: parts cost no copies" if partitions > 1 else "whole"
    if not taken:
        return "stays on the CPU or GPU"
    texts = []
    if partitions > 1:
        texts.append(f"{partitions} parts hand values back and forth: ask for the CPU, or measure first")
    if unit == "ane":
        ane = tables()["ane"]
        floor = ane["floor_ms"]
        if macs < ane["floor_macs"]:
            texts.append(f"{macs / 1e6:.1f} MMAC are below the floor of about {floor:g} ms a call (M1)")
        if stage == "refiner":
            texts.append(
                f"{cold} calls in a cold frame, {tracking} in a tracked one: a floor each; --iterations makes it one"
            )
    return "; ".join(texts) or "whole"
