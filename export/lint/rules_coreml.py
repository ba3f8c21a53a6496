"""Rules of Core ML programs: what Apple's neural engine takes, and what the package asks of the system."""

from __future__ import annotations

from collections.abc import Iterator

from qlot.export.lint.devices import DeviceFamily, ane_tier, tables
from qlot.export.lint.finding import Hit, LintContext, LintRule, Severity
from qlot.export.lint.graph import GraphNode, StageGraph

_NARROW = ("float16", "int8", "uint8", "bool")
_MOVES = ("squeeze", "expand_dims", "reshape")  # of which an axis is no axis of values that are computed
_MAX_EXTENT = {13: 16384, 14: 16384, 15: 16384, 16: 65536}  # ane-guide, appendix A, "max tensor W / H"


def ane_refusal(graph: StageGraph, node: GraphNode, family: DeviceFamily) -> str | None:
    """Return why the neural engine of a family does not take an operation, None if it is eligible."""
    wide = wide_types(graph, node)
    if wide:
        return f"it computes in {wide[0]}"
    return _unknown_there(graph, node, family)


def wide_types(graph: StageGraph, node: GraphNode) -> list[str]:
    """Return an operation's types that the neural engine does not compute in; the ends of a cast may differ."""
    names = [*graph.running(node), *node.outputs]
    found = [t for name in names if (t := graph.dtype(name)) not in _NARROW]
    return [] if node.op == "cast" and len(found) < len(names) else found


def _unknown_there(graph: StageGraph, node: GraphNode, family: DeviceFamily) -> str | None:
    first, limits = ane_tier(node.op), tables()["ane"]
    if first is None:
        return "no path on the neural engine is known"
    if family.tier == 0:
        return "the table of operations begins with A13"
    if first > family.tier:
        return f"native from A{first} on"
    shapes = [s for name in (*graph.running(node), *node.outputs) if (s := graph.shape(name)) is not None]
    rank = max(map(len, shapes), default=0)
    if rank > limits["max_rank"] - (node.op == "linear"):
        return f"{rank} dimensions are too many"
    widest = max((n for s in shapes for n in s[-2:]), default=0)
    if widest > _MAX_EXTENT[family.tier]:
        return f"an axis of {widest} is longer than {_MAX_EXTENT[family.tier]}"
    return None


def _precision(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    nodes = [n for n in graph.computing if n.op != "cast"]
    wide = [n for n in nodes if wide_types(graph, n)]
    every = bool(wide) and len(wide) == len(nodes)
    for node in wide:
        what = "no operation of the stage is" if every else f"operations in {wide_types(graph, node)[0]} are not"
        text = f"{what} eligible for the neural engine, which computes in float16 and int8 only"
        yield Hit(node.op, node.name, text)


def _operation(graph: StageGraph, context: LintContext) -> Iterator[Hit]:
    families = [family for family in context.of("ane") if family.tier]
    for node in graph.computing:
        reasons: dict[str, list[str]] = {}
        for family in families:
            why = None if wide_types(graph, node) else _unknown_there(graph, node, family)
            if why is not None:
                reasons.setdefault(why, []).append(family.name)
        for why, names in reasons.items():
            yield Hit(node.op, node.name, why, tuple(names))


def _no_table(graph: StageGraph, context: LintContext) -> Iterator[Hit]:
    older = tuple(family.name for family in context.of("ane") if not family.tier)
    if older:
        yield Hit("any", "", "what the neural engine takes there is not known: the tables begin with A13", older)


def _last_axis(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    granule = tables()["ane"]["alignment_bytes"]
    for node in graph.computing:
        shape, dtype = graph.shape(node.name), graph.dtype(node.name)
        if not shape or len(shape) < 2 or dtype not in _NARROW or wide_types(graph, node) or node.op in _MOVES:
            continue
        size = 1 if dtype != "float16" else 2
        if shape[-1] * size < granule:
            text = f"a last axis of less than {granule} bytes is padded to that"
            yield Hit(node.op, node.name, text)


def _borders(graph: StageGraph, _: LintContext) -> Iterator[Hit]:
    for node in graph.computing:
        if node.op != "cast":
            continue
        source, made = graph.running(node)[0], node.name
        ends = graph.dtype(source), graph.dtype(made)
        inner = source not in graph.inputs and made not in graph.outputs
        if inner and sorted(ends) == ["float16", "float32"]:
            yield Hit(
                "cast", made, "values pass between float16 and float32 inside the stage, maybe between processors"
            )


def _int8(graph: StageGraph, context: LintContext) -> Iterator[Hit]:
    slow = tuple(f.name for f in context.of("ane") if not f.int8)
    for node in graph.computing:
        if node.op == "quantize" and slow:
            text = "int8 products are formed from A17 Pro and M4 on; elsewhere the same values are multiplied as floats"
            yield Hit("quantize", node.name, text, slow)


def _min_ios(graph: StageGraph, context: LintContext) -> Iterator[Hit]:
    needed = tables()["specifications"].get(str(graph.versions.get("specification", 0)))
    stated = context.manifest.min_ios
    if needed is not None and stated is not None and needed > stated:
        yield Hit("package", "", f"the package needs iOS {needed}, the manifest promises iOS {stated}")


_GUIDE = "ane-guide appendix A and chapter 17 (arXiv 2606.22283)"
RULES = (
    LintRule(
        "coreml/min-ios", Severity.ERROR, "coremltools 9.0, AvailableTarget", "export again with a later --min-ios",
        None, _min_ios,
    ),
    LintRule(
        "coreml/ane-precision", Severity.WARNING,
        f"coremltools guide, Typed Execution Workflow Example (2026); {_GUIDE}",
        "export --fp16, or --int8 for A17 Pro and M4", "ane", _precision,
    ),
    LintRule(
        "coreml/ane-op", Severity.WARNING, f"{_GUIDE}; ANEForge op-catalog",
        "expect the stage to be split there on these families", "ane", _operation,
    ),
    LintRule("coreml/ane-unknown", Severity.NOTE, _GUIDE, "measure on such a device", "ane", _no_table),
    LintRule(
        "coreml/precision-border", Severity.NOTE, f"{_GUIDE}; hollance/neural-engine, unsupported-layers.md",
        "nothing that keeps coordinates exact; fewer float32 operations bring fewer borders", "ane", _borders,
    ),
    LintRule(
        "coreml/int8-chip", Severity.NOTE, "coremltools guide, Quantization, Performance (2026)",
        "ship --fp16 to older phones", "ane", _int8,
    ),
    LintRule(
        "coreml/ane-last-axis", Severity.NOTE, _GUIDE,
        "nothing, unless a device's profile shows the operation", "ane", _last_axis,
    ),
)  # fmt: skip
