"""Bundles of the shipped weights with short golden sequences, without the parity of a whole export."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from qlot.export.bundle import writer
from qlot.export.bundle.spec import tracker_spec
from qlot.export.calibration.frames import calibration_clip, parity_clip
from qlot.export.calibration.record import RecordedInputs, record
from qlot.export.graphs.schemes import plan_for
from qlot.export.graphs.stages import Stage, make_stages
from qlot.export.parity.reference import record_reference
from qlot.export.targets import load_target
from qlot.model.checkpoint import checkpoint_metadata, load_checkpoint
from qlot.model.fuse import fuse
from qlot.model.layout import Layout, load_layout
from qlot.model.qlot import QLOT
from qlot.model.torch_network import TorchNetwork, write_mask
from qlot.model.weights import weights_path
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import (
    SCHEMA_VERSION,
    Lowering,
    Manifest,
    ModelSpec,
    Scheme,
    SchemeSpec,
    Target,
    TrackerSpec,
)
from qlot.runtime.bundle.stated_confidence import stated_confidence

FRAMES = 6  # one cold, five tracked
EACH = 4  # of the recorded calls, every fourth is enough for ranges that nothing is judged by


@functools.cache
def _network(weights: str) -> tuple[QLOT, Layout, TrackerSpec]:
    model, layout = load_checkpoint(weights_path(weights)), load_layout("wflw98")
    confidence = stated_confidence(checkpoint_metadata(weights_path(weights)), layout.name)
    assert confidence is not None
    return model, layout, tracker_spec(model.config, layout, confidence)


@functools.cache
def _golden(weights: str) -> GoldenSequence:
    model, layout, spec = _network(weights)
    return record_reference(TorchNetwork(model, layout), spec, parity_clip(), FRAMES)


@functools.cache
def _stages(weights: str, lowering: Lowering) -> list[Stage]:
    model, layout, _ = _network(weights)
    points = torch.tensor(layout.points, dtype=torch.float32)
    return make_stages(fuse(model, points, mask=write_mask(layout), lowering=lowering), None)


@functools.cache
def _recorded(weights: str, lowering: Lowering) -> RecordedInputs:
    found = record(_stages(weights, lowering), _network(weights)[2], calibration_clip())
    return {name: calls[::EACH] for name, calls in found.items()}


def write_shipped(folder: Path, weights: str, target: Target, scheme: Scheme) -> Path:
    """Write a bundle of shipped weights into a new folder."""
    folder.mkdir(parents=True)
    _, _, spec = _network(weights)
    plan, converter = plan_for(target, scheme), load_target(target)
    stages = _stages(weights, converter.default_lowering)
    feeds = _recorded(weights, converter.default_lowering) if plan.calibrated else {}
    graphs = {stage.name: converter.convert(stage, plan, feeds.get(stage.name)) for stage in stages}
    packed = converter.pack(stages, graphs)
    writer.write_graphs(folder, packed)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        model=ModelSpec(preset=weights, parameters=1, checkpoint=weights, checkpoint_sha256="0" * 64, licence="none"),
        target=target,
        lowering=converter.default_lowering,
        scheme=SchemeSpec(name=scheme, requested=scheme, rules=plan.rules, calibration=None),
        stages=writer.stage_specs(stages, packed.graphs),
        golden=writer.write_golden_part(folder, _golden(weights), plan.tolerance),
        parity=None,
        tools={},
        files=writer.listed_files(folder),
        **{field: getattr(spec, field) for field in type(spec).model_fields},
    )
    writer.write_manifest(folder, manifest)
    return folder
