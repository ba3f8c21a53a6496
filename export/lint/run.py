"""Lint a bundle: read its graphs, apply the rules, predict the placement."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlot.export.lint.accumulate import HALF, HalfSums, half_sums
from qlot.export.lint.devices import chosen_families, engine_limits
from qlot.export.lint.finding import Finding, LintContext, Severity, apply_rules
from qlot.export.lint.graph import LintError, StageGraph
from qlot.export.lint.placement import StagePlacement, placements
from qlot.export.lint.read_coreml import read_coreml
from qlot.export.lint.read_onnx import read_onnx
from qlot.export.lint.read_tflite import read_tflite
from qlot.export.lint.rules_coreml import RULES as COREML
from qlot.export.lint.rules_onnx import RULES as ONNX
from qlot.export.lint.rules_tflite import RULES as TFLITE
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import StageSpec

RULES = {"coreml": COREML, "onnx": ONNX, "tflite": TFLITE}


@dataclass(frozen=True)
class LintReport:
    """What is predicted of a bundle.

    Attributes:
        bundle: its folder.
        target: of the bundle.
        families: that were looked at.
        findings: the worst first.
        placements: stage by stage.
        sums: in float16, of a TFLite bundle for a unit that may sum so; None elsewhere.
    """

    bundle: Path
    target: str
    families: tuple[str, ...]
    findings: tuple[Finding, ...]
    placements: tuple[StagePlacement, ...]
    sums: HalfSums | None

    @property
    def counts(self) -> Counter[Severity]:
        """How many findings there are of each severity."""
        return Counter(finding.severity for finding in self.findings)

    @property
    def failed(self) -> bool:
        """Whether a finding is an error."""
        return bool(self.counts[Severity.ERROR])


def lint(
    bundle: Bundle, *, device: str | None = None, engine_version: str | None = None, sums: bool = True
) -> LintReport:
    """Lint a bundle whose files have been checked.

    Args:
        bundle: what to lint.
        device: a family of devices; None for all that run its target.
        engine_version: of ONNX Runtime, that an app pins; None if it pins none.
        sums: emulate sums in float16; seconds for the shipped networks.

    Raises:
        LintError: there is no such family or version, an option is of another target, or a graph cannot be read.
    """
    manifest = bundle.manifest
    families = chosen_families(device, manifest.target)
    if engine_version is not None:
        if manifest.target != "onnx":
            raise LintError(
                f"--engine-version is of ONNX Runtime, and this bundle is for {manifest.target}: leave it out."
            )
        engine_limits(engine_version)
    graphs: dict[str, StageGraph] = {name: read_stage(bundle, name, spec) for name, spec in manifest.stages.items()}
    context = LintContext(manifest, families, engine_version)
    findings = [f for graph in graphs.values() for f in apply_rules(RULES[manifest.target], graph, context)]
    placed = tuple(p for graph in graphs.values() for p in placements(graph, context))
    found = None
    if sums and context.of("gpu-delegate"):
        golden = bundle.golden()
        found = half_sums(graphs, golden, np.array(manifest.layout.points), manifest.preprocessing.size)
        findings += _overflows(found, tuple(f.name for f in context.of("gpu-delegate")))
    findings.sort(key=lambda f: -f.severity)
    return LintReport(bundle.path, manifest.target, tuple(f.name for f in families), tuple(findings), placed, found)


def read_stage(bundle: Bundle, name: str, spec: StageSpec) -> StageGraph:
    """Read a stage's graph.

    Raises:
        LintError: it is in ORT format, or not what the manifest says it is.
    """
    data = bundle.graph(spec)
    if isinstance(data, dict):
        return read_coreml(data, name, spec.function)
    if spec.file.endswith(".ort"):
        raise LintError(
            f"{spec.file} is in ORT format, which is not read here: lint the bundle exported without --packing ort; "
            "the graphs are the same."
        )
    if bundle.manifest.target == "tflite":
        return read_tflite(data, name, spec.function)
    return read_onnx(data, name)


def _overflows(sums: HalfSums, families: tuple[str, ...]) -> list[Finding]:
    source = "IEEE 754 binary16; emulated over the golden clip"
    found = [
        Finding(
            "tflite/half-sum", Severity.ERROR, stage, op, tensor, {op: 1},
            f"partial sums leave float16, which ends at {HALF:g}", families, source,
            "keep the stage on the CPU, or ask the delegate for float32 sums",
        )
        for stage, op, tensor in sums.overflows
    ]  # fmt: skip
    if sums.values > HALF:
        stage, tensor = sums.values_at
        text = f"a value of {sums.values:.3g} leaves float16, which ends at {HALF:g}"
        found.append(
            Finding(
                "tflite/half-value", Severity.ERROR, stage, "any", tensor, {"any": 1}, text, families, source,
                "keep the stage on the CPU, or ask the delegate for float32",
            )
        )  # fmt: skip
    return found
