"""One export from checkpoint to verified bundle."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from qlot.export.bundle import writer
from qlot.export.bundle.packing import Packing, load_converter, packed_plan
from qlot.export.bundle.spec import tracker_spec
from qlot.export.calibration.frames import FrameSet, calibration_clip, parity_clip
from qlot.export.calibration.record import RecordedInputs, calibration_spec, record
from qlot.export.confidence.known import builtin_confidence, known_confidence
from qlot.export.errors import ExportError
from qlot.export.graphs.schemes import SchemePlan, plan_for
from qlot.export.graphs.stages import Stage, make_stages
from qlot.export.parity.free_run import (
    GOLDEN_LENGTH,
    PARITY_LENGTH,
    first_frames,
    parity_spec,
)
from qlot.export.parity.levels import Levels, measure_levels, record_levels
from qlot.export.report.latency import measure_latency
from qlot.export.report.page import Findings, check_place, write_page
from qlot.export.targets.base import Converter, Packed
from qlot.export.targets.coreml.options import DEFAULTS, CoreMLOptions, check_options, with_image_input
from qlot.model.checkpoint import CheckpointError, checkpoint_metadata, file_sha256, load_checkpoint
from qlot.model.fuse import fuse
from qlot.model.layout import Layout, LayoutError, load_layout
from qlot.model.qlot import QLOT
from qlot.model.torch_network import TorchNetwork, write_mask
from qlot.model.weights import DEFAULT, shipped_weights, weights_path
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.limits import printable
from qlot.runtime.bundle.manifest import (
    SCHEMA_VERSION,
    CalibrationSpec,
    ConfidenceSpec,
    Lowering,
    Manifest,
    ModelSpec,
    SchemeSpec,
    Target,
    TrackerSpec,
)
from qlot.runtime.network.replay import replay
from qlot.runtime.progress import Progress


@dataclass(frozen=True)
class ExportRequest:
    """What a user asked for.

    Attributes:
        target: onnx, tflite or coreml.
        scheme: a scheme or an alias, as typed.
        checkpoint: a file, or the name of shipped weights.
        layout: a shipped layout, or a JSON file.
        unrolled: steps of an additional unrolled refiner; None for none.
        lowering: None picks the target's own.
        calibration: a clip or image folder in place of the built-in frames.
        out: the bundle's folder; None names it by preset, layout, target and scheme, in the working directory.
        force: replace an existing bundle.
        golden: include the golden sequence.
        report: HTML page for the parity report, written whether the bundle passes or not; None for none.
        coreml: options of target coreml; for another target the defaults.
        packing: of the target; None for a file, or a package, for each stage.
    """

    target: Target
    scheme: str = "fp32"
    checkpoint: str = DEFAULT
    layout: str = "wflw98"
    unrolled: int | None = None
    lowering: Lowering | None = None
    calibration: Path | None = None
    out: Path | None = None
    force: bool = False
    golden: bool = True
    report: Path | None = None
    coreml: CoreMLOptions = DEFAULTS
    packing: Packing | None = None


@dataclass(frozen=True)
class ExportResult:
    """A written bundle, and how it did on the parity frames."""

    bundle: Bundle
    report: Levels
    calibration: CalibrationSpec | None


def export(request: ExportRequest, progress: Progress = lambda _: None) -> ExportResult:
    """Export, verify and write a bundle.

    Every bundle is opened by the runtime in a temporary place, replays its golden sequence and runs free over the
    parity frames; only then it is renamed into place.

    Raises:
        ExportError: the request cannot be met; nothing was written.
        ParityError: the bundle strays beyond its scheme's tolerance; nothing was written.
    """
    target = load_converter(request.target, request.packing, request.coreml)
    plan = packed_plan(plan_for(request.target, request.scheme), request.packing)
    check_options(request.coreml, request.target, plan)
    if request.calibration is not None and not plan.calibrated:
        raise ExportError(f"scheme {plan.name} needs no calibration: leave --calib out, or choose --int8.")
    path = resolve_checkpoint(request.checkpoint)
    model = load_model(path)
    try:
        layout = load_layout(request.layout)
    except LayoutError as e:
        raise ExportError(str(e)) from e
    name = f"qlot-{model.config.preset}-{layout.name}-{request.target}-{plan.name}"
    out = Path(os.path.abspath(request.out or name))  # noqa: PTH100 - resolve() would follow a link at `out`
    if request.report is not None:
        check_place(request.report, out)
    clip = calibration_clip(request.calibration) if plan.calibrated else None
    with writer.replacing(out, request.force) as folder:  # refuses a bad place before the work
        report = _Build(request, out, plan, target, path, model, layout, clip, progress).write(folder)
    bundle = Bundle.open(out)
    return ExportResult(bundle, report, bundle.manifest.scheme.calibration)


@dataclass(frozen=True)
class _Build:
    """The work between a checked request and a verified folder."""

    request: ExportRequest
    out: Path
    plan: SchemePlan
    target: Converter
    path: Path
    model: QLOT
    layout: Layout
    clip: FrameSet | None  # for calibration
    progress: Progress

    def write(self, folder: Path) -> Levels:
        """Write a verified bundle into a folder and return how it did on the parity frames."""
        reference, held_back = TorchNetwork(self.model, self.layout), parity_clip()
        metadata = checkpoint_metadata(self.path)
        spec = tracker_spec(self.model.config, self.layout, self._confidence(metadata, reference))
        self.progress(f"tracking {PARITY_LENGTH} parity frames in PyTorch")
        expected = record_levels(reference, spec, held_back)

        lowering = self.request.lowering or self.target.DEFAULT_LOWERING
        points = torch.tensor(self.layout.points, dtype=torch.float32)
        fused = fuse(self.model, points, mask=write_mask(self.layout), lowering=lowering)
        stages = with_image_input(make_stages(fused, self.request.unrolled), self.request.coreml)
        feeds = self._record(stages, spec)
        packed = self._convert(stages, feeds)

        writer.write_graphs(folder, packed)
        writer.write_legal(folder)
        golden = first_frames(expected.run, GOLDEN_LENGTH) if self.request.golden else None
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            model=ModelSpec(
                preset=self.model.config.preset,
                parameters=sum(p.numel() for p in self.model.parameters()),
                checkpoint=printable(self.path.name),
                checkpoint_sha256=file_sha256(self.path),
                licence=metadata.get("licence", "as the checkpoint's source states"),
            ),
            target=self.request.target,
            min_ios=self.request.coreml.min_ios if self.request.target == "coreml" else None,
            lowering=lowering,
            scheme=self._scheme_spec(stages, feeds),
            stages=writer.stage_specs(stages, packed.graphs),
            golden=writer.write_golden_part(folder, golden, self.plan.tolerance),
            parity=None,
            tools={tool: importlib.metadata.version(tool) for tool in ("qlot-mobile", "numpy", *self.target.TOOLS)},
            files=writer.listed_files(folder),
            **{field: getattr(spec, field) for field in type(spec).model_fields},
        )
        writer.write_manifest(folder, manifest)
        self.progress("verifying the written bundle")
        report = measure_levels(Bundle.open(folder), expected, stages, self.plan)
        parity = parity_spec(report.free, reference, held_back)
        manifest = manifest.model_copy(update={"parity": parity})
        if self.request.report is not None:
            latency = measure_latency(Bundle.open(folder), expected.run)
            write_page(self.request.report, Findings(self.out.name, manifest, report, latency))
        report.check()
        writer.write_manifest(folder, manifest)
        if self.request.golden:
            replay(Bundle.open(folder)).check()
        return report

    def _confidence(self, metadata: Mapping[str, str], reference: TorchNetwork) -> ConfidenceSpec:
        known = known_confidence(metadata, self.layout)
        if known is not None:
            return known
        self.progress("fitting the confidence on the sample clip")
        return builtin_confidence(reference, self.model.config, self.layout)

    def _record(self, stages: list[Stage], spec: TrackerSpec) -> RecordedInputs:
        if self.clip is None:
            return {}
        self.progress(f"recording {len(self.clip.frames)} calibration frames ({self.clip.source})")
        return record(stages, spec, self.clip)

    def _convert(self, stages: list[Stage], feeds: RecordedInputs) -> Packed:
        graphs = {}
        for stage in stages:
            self.progress(f"converting the {stage.name.replace('_', ' ')}")
            graphs[stage.name] = self.target.convert(stage, self.plan, feeds.get(stage.name))
        return self.target.pack(stages, graphs)

    def _scheme_spec(self, stages: list[Stage], feeds: RecordedInputs) -> SchemeSpec:
        calibration = calibration_spec(self.clip, feeds, stages) if self.clip else None
        return SchemeSpec(
            name=self.plan.name, requested=self.request.scheme, rules=self.plan.rules, calibration=calibration
        )


def resolve_checkpoint(checkpoint: str) -> Path:
    """Find a checkpoint by file or by the name of shipped weights.

    Raises:
        ExportError: neither, with the names there are.
    """
    if checkpoint in shipped_weights():
        return weights_path(checkpoint)
    if not Path(checkpoint).is_file():
        raise ExportError(
            f"no checkpoint file {checkpoint!r}, and no shipped weights of that name: {', '.join(shipped_weights())}"
        )
    return Path(checkpoint)


def load_model(path: Path) -> QLOT:
    """Load a checkpoint; what is wrong with it becomes an ExportError."""
    try:
        return load_checkpoint(path)
    except CheckpointError as e:
        raise ExportError(str(e)) from e
