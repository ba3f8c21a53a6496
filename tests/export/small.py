"""Small real exports for tests: a network of other sizes than the published ones, its stages, graphs and a bundle.

Tracing takes seconds, so every graph is made once in a test run.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from onnx import ModelProto

from qlot.export.bundle import writer
from qlot.export.bundle.spec import tracker_spec
from qlot.export.calibration.record import RecordedInputs, RecordingNetwork
from qlot.export.graphs.half import is_half
from qlot.export.graphs.schemes import PLANS
from qlot.export.graphs.stages import Stage, make_stages
from qlot.export.parity.reference import first_frames
from qlot.export.targets.base import Graph, Packed
from qlot.export.targets.onnx.convert import convert, trace, under
from qlot.model.config import QLOTConfig, StageConfig
from qlot.model.fuse import fuse
from qlot.model.layout import Layout, load_layout
from qlot.model.qlot import QLOT, Lowering
from qlot.model.torch_network import TorchNetwork, write_mask
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import (
    SCHEMA_VERSION,
    ConfidenceSpec,
    Manifest,
    ModelSpec,
    Scheme,
    SchemeSpec,
    Target,
    ToleranceSpec,
)
from qlot.runtime.network.recurrence import Gate, steps
from qlot.runtime.network.replay import run_frames
from qlot.runtime.network.state import cold_start

SMALL = QLOTConfig(
    preset="small", image_size=96, stem=(8, 16),
    stages=(
        StageConfig(16, 8, 32, 1, False, False, 3, 2), StageConfig(32, 8, 32, 2, True, True, 3, 1),
        StageConfig(32, 8, 24, 1, True, False, 3, 1),
    ),
    channels=24, lateral=32, groups=4, correlation_heads=(2, 3, 4), correlation_kernels=(2, 1, 1), harmonic_pairs=4,
    low_channels=5, template_widths=(16, 24), branch_channels=(4, 6, 4), state_width=8, feature_width=32,
    hidden_width=16, mixer_heads=2, mixer_slots=4, mixer_key=8, head_width=12,
)  # fmt: skip
UNROLLED = 2
GATE = Gate(2.0, 0.05)


@functools.cache
def layout() -> Layout:
    """Return eight mirrored landmarks, two of them kept from writing."""
    whole = load_layout("wflw98")
    picked = sorted({i for j in (0, 33, 60, 76) for i in (j, whole.mirror[j])})
    return dataclasses.replace(whole.subset(picked, "few"), write_mask=(0, 3))


@functools.cache
def network() -> QLOT:
    """Return a random network whose affine blocks, norms and mixer are away from their neutral values."""
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = QLOT(SMALL).eval()
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith(("running_var", "lab.scale", "norm.weight", "bn.weight")):
                value.copy_(torch.exp(0.2 * noise))
            elif name.endswith(("running_mean", "bias", "slot_gain", "temperature")):
                value.copy_(0.2 * noise)
            elif name.endswith("weight"):  # PyTorch's own start leaves the outputs blind to the image
                fan = value.shape[-2] if value.ndim == 3 else value[0].numel()
                value.copy_(noise / fan**0.5)
        model.refiner.covariance.bias.copy_(torch.tensor([-3.0, -3.1, 0.2]))  # about a pixel: the gate bites
        model.refiner.delta.bias.mul_(0.05)
    return model


@functools.cache
def stages(lowering: Lowering) -> tuple[Stage, ...]:
    """Return the extractor, refiner and unrolled refiner of the small network."""
    points = torch.tensor(layout().points, dtype=torch.float32)
    return tuple(make_stages(fuse(network(), points, mask=write_mask(layout()), lowering=lowering), UNROLLED))


def stage(lowering: Lowering, name: str) -> Stage:
    """Pick a stage by name."""
    return next(s for s in stages(lowering) if s.name == name)


def graph(lowering: Lowering, name: str, scheme: Scheme = "fp32") -> Graph:
    """Convert a stage, once."""
    return _graph(lowering, name, scheme)


@functools.cache
def _graph(lowering: Lowering, name: str, scheme: Scheme) -> Graph:
    plan, made = PLANS[scheme], stage(lowering, name)
    feeds = recorded(lowering)[made.name] if plan.calibrated else None
    return convert(made, plan, feeds) if is_half(plan) else under(traced(lowering, name), made, plan, feeds)


def traced(lowering: Lowering, name: str) -> ModelProto:
    """Return a copy of a stage's traced graph, which a test may change."""
    return copy.deepcopy(_traced(lowering, name))


@functools.cache
def _traced(lowering: Lowering, name: str) -> ModelProto:
    return trace(stage(lowering, name))


def crops(frames: int, seed: int = 0) -> np.ndarray:
    """Return smooth moving pictures (T, S, S, 3), uint8."""
    size, phase = SMALL.image_size, np.random.default_rng(seed).uniform(0, 6, 3)
    y, x = np.mgrid[0:size, 0:size] / size
    planes = [
        [np.sin(a * x + b * y + c + 0.1 * t) for a, b, c in zip((9, 5, 13), (4, 11, 7), phase, strict=True)]
        for t in range(frames)
    ]
    return np.rint((np.moveaxis(np.array(planes), 1, -1) / 2 + 0.5) * 255).astype(np.uint8)


def images(frames: int) -> np.ndarray:
    """Return the same pictures as network inputs (T, 1, 3, S, S)."""
    return np.ascontiguousarray(crops(frames).transpose(0, 3, 1, 2)[:, None] / 255, np.float32)


@functools.cache
def recorded(lowering: Lowering) -> RecordedInputs:
    """Return what reaches each stage over eight frames of two steps."""
    gate = np.array([GATE.radius, GATE.cutoff], np.float32)
    recorder = RecordingNetwork(stages(lowering), SMALL.image_size, gate)
    state = cold_start(layout().points, SMALL.image_size, SMALL.hidden_width)
    for image in images(8):
        *_, state = steps(recorder, recorder.extract(image), state, 2, GATE)
    return recorder.feeds


def reference_sequence(frames: int = 4) -> GoldenSequence:
    """Return a free run of PyTorch over the pictures: a cold frame of four steps, then one a frame."""
    n, size = len(layout()), SMALL.image_size
    counts = np.array([4] + [1] * (frames - 1), np.int32)
    boxes = np.tile([100.0, 80.0, 90.0], (frames, 1))
    boxes[2:] += [3.0, -2.0, 5.0]  # the crop moves once
    gate = np.array([GATE.radius, GATE.cutoff], np.float32)
    landmarks = np.zeros((frames, 4, n, 7), np.float32)
    hidden = np.zeros((frames, n, SMALL.hidden_width), np.float32)
    blank = GoldenSequence(crops(frames), boxes, counts, landmarks, hidden, gate)
    for t, states in enumerate(run_frames(TorchNetwork(network(), layout()), blank, layout().points)):
        landmarks[t, : len(states)] = [s.landmarks[0] for s in states]
        hidden[t] = states[-1].hidden[0]
    assert blank.crops.shape == (frames, size, size, 3)
    return dataclasses.replace(blank, landmarks=landmarks, hidden=hidden)


def write_bundle(
    folder: Path,
    graphs: Mapping[str, Graph],
    *,
    tolerance: ToleranceSpec = PLANS["fp32"].tolerance,
    target: Target = "onnx",
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a bundle with the production writer: graphs and extra files as given, and the reference as golden."""
    folder.mkdir()
    lowering: Lowering = "windowed" if target == "onnx" else "dense"
    confidence = ConfidenceSpec(bias=0, w_spread=-1, found=0.5, lost=0.3, calibration="none: an untrained network")
    spec = tracker_spec(SMALL, layout(), confidence)
    named = {stage(lowering, n).name: g for n, g in graphs.items()}
    writer.write_graphs(folder, Packed(named, extra or {}))
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        model=ModelSpec(preset="small", parameters=1, checkpoint="small", checkpoint_sha256="0" * 64, licence="none"),
        target=target,
        lowering=lowering,
        scheme=SchemeSpec(name="fp32", requested="fp32", rules={}, calibration=None),
        stages=writer.stage_specs([stage(lowering, n) for n in graphs], named),
        golden=writer.write_golden_part(folder, first_frames(reference_sequence(), 3), tolerance),
        parity=None,
        tools={},
        files=writer.listed_files(folder),
        **{field: getattr(spec, field) for field in type(spec).model_fields},
    )
    writer.write_manifest(folder, manifest)
    return folder


def feeds_of(stage: Stage, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random inputs of a stage: landmarks inside and outside the picture, everything else normal."""
    random = np.random.default_rng(seed)
    feeds = {t.name: random.standard_normal(t.shape).astype(np.float32) for t in stage.inputs}
    if "landmarks" in feeds:
        feeds["landmarks"][..., :2] = random.uniform(-40, 110, feeds["landmarks"][..., :2].shape)
    if "image" in feeds:
        feeds["image"] = random.uniform(0, 1, feeds["image"].shape).astype(np.float32)
    if "gate" in feeds:
        feeds["gate"] = np.array([GATE.radius, GATE.cutoff], np.float32)
    return feeds


def run_torch(stage: Stage, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a stage in PyTorch."""
    with torch.no_grad():
        outputs = stage.module(*(torch.from_numpy(feeds[t.name]) for t in stage.inputs))
    return {t.name: cast(torch.Tensor, o).numpy() for t, o in zip(stage.outputs, outputs, strict=True)}
