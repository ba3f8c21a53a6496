"""One export from checkpoint to verified bundle."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from qlot.export.bundle import writer
from qlot.export.bundle.spec import tracker_spec
from qlot.export.calibration.frames import FrameSet, calibration_clip, parity_clip
from qlot.export.calibration.record import RecordedInputs, calibration_spec, record
from qlot.export.confidence.known import confidence_of
from qlot.export.errors import ExportError
from qlot.export.graphs.schemes import SchemePlan, plan_for
from qlot.export.graphs.stages import Stage, make_stages
from qlot.export.parity.free_run import parity_spec
from qlot.export.parity.levels import Levels, Reference, measure_levels, record_levels
from qlot.export.parity.reference import GOLDEN_LENGTH, PARITY_LENGTH, first_frames
from qlot.export.report.latency import measure_latency
from qlot.export.report.page import Findings, check_place, write_page
from qlot.export.request import ExportRequest, ExportResult
from qlot.export.targets import load_target
from qlot.export.targets.base import Converter, Packed
from qlot.export.targets.rules import check_lowering
from qlot.model.checkpoint import CheckpointError, checkpoint_metadata, file_sha256, load_checkpoint
from qlot.model.fuse import fuse
from qlot.model.layout import Layout, LayoutError, load_layout
from qlot.model.qlot import QLOT
from qlot.model.torch_network import TorchNetwork, one_thread, write_mask
from qlot.model.weights import shipped_weights, weights_path
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.limits import printable
from qlot.runtime.bundle.manifest import (
    SCHEMA_VERSION,
    Manifest,
    ModelSpec,
    SchemeSpec,
    TrackerSpec,
)
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.replay import replay
from qlot.runtime.progress import Progress
from qlot.runtime.quiet import quiet


@one_thread()
def export(request: ExportRequest, progress: Progress = lambda _: None) -> ExportResult:
    """Export, verify and write a bundle.

    Every bundle is opened by the runtime in a temporary place, replays its golden sequence and runs free over the
    parity frames; only then it is renamed into place.

    Raises:
        ExportError: the request cannot be met; nothing was written.
        ParityError: the bundle strays beyond its scheme's tolerance; nothing was written.
    """
    ready = prepare(request)
    with writer.replacing(ready.out, request.force) as folder:  # refuses a bad place before the work
        built = _Build(**vars(ready), progress=progress).write(folder)
    if built.page_error is not None:
        raise ExportError(
            f"the bundle is written, {ready.out}, but not its report: {built.page_error}"
        ) from built.page_error
    manifest = built.bundle.manifest
    return ExportResult(replace(built.bundle, path=ready.out), built.levels, manifest.scheme.calibration)


def prepare(request: ExportRequest) -> Prepared:
    """Check a request, the place of the bundle apart, and load what it names.

    Raises:
        ExportError: it cannot be met.
        VideoError: the calibration clip cannot be read.
    """
    converter = load_target(request.target, request.options)
    plan = converter.plan(plan_for(request.target, request.scheme))
    check_lowering(request.target, request.lowering)
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
    return Prepared(request, out, plan, converter, path, model, layout, clip)


@dataclass(frozen=True)
class Prepared:
    """A checked request and what it names, loaded."""

    request: ExportRequest
    out: Path
    plan: SchemePlan
    converter: Converter
    path: Path  # of the checkpoint
    model: QLOT
    layout: Layout
    clip: FrameSet | None  # for calibration


@dataclass(frozen=True, eq=False)
class _Built:
    """A verified bundle in its temporary folder, how it did, and why its report could not be written, if so."""

    bundle: Bundle
    levels: Levels
    page_error: ExportError | None


@dataclass(frozen=True)
class _Build(Prepared):
    """The work between a checked request and a verified folder."""

    progress: Progress

    def write(self, folder: Path) -> _Built:
        """Write a verified bundle into a folder.

        Raises:
            ParityError: it strays beyond its tolerance.
        """
        reference, held_back = TorchNetwork(self.model, self.layout), parity_clip()
        metadata = checkpoint_metadata(self.path)
        confidence = confidence_of(metadata, reference, self.model.config, self.layout, self.progress)
        spec = tracker_spec(self.model.config, self.layout, confidence)
        lowering = self.request.lowering or self.converter.default_lowering
        points = torch.tensor(self.layout.points, dtype=torch.float32)
        fused = fuse(self.model, points, mask=write_mask(self.layout), lowering=lowering)
        stages = self.converter.declare(make_stages(fused, self.request.unrolled))
        feeds = self._record(stages, spec)  # first: a clip that will not do is refused at once
        self.progress(f"tracking {PARITY_LENGTH} parity frames in PyTorch")
        expected = record_levels(reference, spec, held_back)
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
            min_ios=self.converter.min_ios,
            lowering=lowering,
            scheme=self._scheme_spec(stages, feeds),
            stages=writer.stage_specs(stages, packed.graphs),
            golden=writer.write_golden_part(folder, golden, self.plan.tolerance),
            parity=None,
            tools={tool: importlib.metadata.version(tool) for tool in ("qlot-mobile", "numpy", *self.converter.tools)},
            files=writer.listed_files(folder),
            **{field: getattr(spec, field) for field in type(spec).model_fields},
        )
        writer.write_manifest(folder, manifest)
        self.progress("verifying the written bundle")
        bundle = Bundle.open(folder)
        network = BundleNetwork(bundle)
        levels = measure_levels(bundle, network, expected, stages, self.plan)
        parity = parity_spec(levels.free, reference, held_back)
        bundle = replace(bundle, manifest=manifest.model_copy(update={"parity": parity}))
        page_error = self._write_page(bundle.manifest, network, levels, expected)
        levels.check()
        writer.write_manifest(folder, bundle.manifest)
        if self.request.golden:
            replay(bundle).check()
        return _Built(bundle, levels, page_error)

    def _write_page(
        self, manifest: Manifest, network: BundleNetwork, levels: Levels, expected: Reference
    ) -> ExportError | None:
        """Write the report if one is wanted; what goes wrong with it must neither cost nor hide the verdict."""
        if self.request.report is None:
            return None
        self.progress("timing the stages for the report")
        latency = measure_latency(network, expected.run)
        try:
            write_page(self.request.report, Findings(self.out.name, manifest, levels, latency))
        except ExportError as e:
            return e
        return None

    def _record(self, stages: list[Stage], spec: TrackerSpec) -> RecordedInputs:
        if self.clip is None:
            return {}
        self.progress(f"recording {len(self.clip.frames)} calibration frames ({self.clip.source})")
        return record(stages, spec, self.clip)

    def _convert(self, stages: list[Stage], feeds: RecordedInputs) -> Packed:
        graphs = {}
        for stage in stages:
            self.progress(f"converting the {stage.name.replace('_', ' ')}")
            with quiet():
                graphs[stage.name] = self.converter.convert(stage, self.plan, feeds.get(stage.name))
        with quiet():
            return self.converter.pack(stages, graphs)

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
