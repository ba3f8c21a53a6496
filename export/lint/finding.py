"""Rules and what they find. Everything here is predicted from files; nothing was run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from qlot.export.lint.devices import DeviceFamily
from qlot.export.lint.graph import StageGraph
from qlot.runtime.bundle.manifest import Manifest

LABEL = "predicted"


class Severity(IntEnum):
    """How bad a finding is: an error gives wrong results or none, a warning costs time, a note is worth knowing."""

    NOTE = 0
    WARNING = 1
    ERROR = 2

    @property
    def word(self) -> str:
        """The severity as it is shown."""
        return self.name.lower()


@dataclass(frozen=True)
class LintContext:
    """What a rule may look at beside the graph.

    Attributes:
        manifest: the bundle's.
        families: those to look at, all of which have a unit for the bundle's target.
        engine_version: of ONNX Runtime, that an app pins; None if nobody said.
    """

    manifest: Manifest
    families: tuple[DeviceFamily, ...]
    engine_version: str | None = None

    def of(self, unit: str) -> tuple[DeviceFamily, ...]:
        """Return the families that ask this unit."""
        return tuple(f for f in self.families if f.unit(self.manifest.target) == unit)


@dataclass(frozen=True)
class Hit:
    """One place where a rule holds: the operation and tensor, what will happen, and to which families, if not all."""

    op: str
    tensor: str
    text: str
    families: tuple[str, ...] = ()


Check = Callable[[StageGraph, LintContext], Iterable[Hit]]


@dataclass(frozen=True)
class LintRule:
    """A rule.

    Attributes:
        id: such as "tflite/gpu-add-output".
        severity: of all that it finds.
        source: where the fact behind it was read.
        remedy: what to do, one line.
        unit: it holds on families that ask this unit; None: everywhere.
        check: yields the places.
    """

    id: str
    severity: Severity
    source: str
    remedy: str
    unit: str | None
    check: Check


@dataclass(frozen=True)
class Finding:
    """What a rule found in a stage: places alike count as one finding.

    Attributes:
        rule: its id.
        severity: its severity.
        stage: where.
        op: type of the first operation.
        tensor: name of its first output; "" where it is the file as a whole.
        ops: how many operations of each type.
        text: what will happen.
        families: the families it holds for.
        source: of the rule.
        remedy: of the rule.
        label: that this is a prediction.
    """

    rule: str
    severity: Severity
    stage: str
    op: str
    tensor: str
    ops: dict[str, int]
    text: str
    families: tuple[str, ...]
    source: str
    remedy: str
    label: str = LABEL


def apply_rules(rules: Iterable[LintRule], graph: StageGraph, context: LintContext) -> Iterator[Finding]:
    """Yield what rules find in a graph."""
    for rule in rules:
        reached = context.families if rule.unit is None else context.of(rule.unit)
        if not reached:
            continue
        groups: dict[tuple[str, tuple[str, ...]], list[Hit]] = {}
        for hit in rule.check(graph, context):
            groups.setdefault((hit.text, hit.families), []).append(hit)
        for (text, families), hits in groups.items():
            names = families or tuple(f.name for f in reached)
            first, ops = hits[0], dict(Counter(hit.op for hit in hits).most_common())
            yield Finding(
                rule.id, rule.severity, graph.stage, first.op, first.tensor, ops, text, names, rule.source, rule.remedy
            )
