"""Graphs of a few operations, as the readers give them, and what rules look at beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from qlot.export.lint.devices import all_families
from qlot.export.lint.finding import Finding, LintContext, apply_rules
from qlot.export.lint.graph import GraphNode, GraphTensor, StageGraph
from qlot.export.lint.run import RULES
from qlot.runtime.bundle.manifest import Manifest, Target

Row = tuple[str, Sequence[str], Sequence[str]] | tuple[str, Sequence[str], Sequence[str], Mapping[str, Any]]


def graph(
    target: Target,
    rows: Iterable[Row],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    constants: Iterable[str] = (),
    dtypes: Mapping[str, str] | None = None,
    usual: str = "float32",
    versions: Mapping[str, int] | None = None,
    stage: str = "refiner",
) -> StageGraph:
    """Return a graph of rows (operation, inputs, outputs[, attributes])."""
    nodes = [GraphNode(row[0], tuple(row[1]), tuple(row[2]), dict(row[3]) if len(row) > 3 else {}) for row in rows]
    names = {name for node in nodes for name in (*node.inputs, *node.outputs)} | set(inputs)
    tensors = {
        n: GraphTensor(n, shapes.get(n, (1, 8)), (dtypes or {}).get(n, usual), n in set(constants)) for n in names
    }
    return StageGraph(stage, target, tuple(inputs), tuple(outputs), tuple(nodes), tensors, versions or {})


def context(
    target: Target,
    *names: str,
    engine_version: str | None = None,
    min_ios: int | None = None,
    steps: tuple[int, int] = (4, 1),
) -> LintContext:
    """Return a context of these families, or of all that run the target."""
    families = tuple(f for f in all_families() if f.unit(target) and (not names or f.name in names))
    iterations = SimpleNamespace(cold=steps[0], tracking=steps[1])
    manifest = SimpleNamespace(target=target, min_ios=min_ios, iterations=iterations)
    return LintContext(cast(Manifest, manifest), families, engine_version)


def found(made: StageGraph, where: LintContext) -> dict[str, list[Finding]]:
    """Return the findings of all rules of a graph's target, by rule."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in apply_rules(RULES[made.target], made, where):
        by_rule.setdefault(finding.rule, []).append(finding)
    return by_rule
