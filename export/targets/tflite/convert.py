"""TFLite: converted by litert-torch, one file per stage, run under XNNPACK before it counts as converted."""

from __future__ import annotations

import numpy as np
import torch

from qlot.export.errors import TargetError
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.targets.base import Graph, StageInputs
from qlot.export.targets.tflite.graph import histogram, operators, read, scopes, shorten_names, written
from qlot.export.targets.tflite.modules import NamedStage
from qlot.export.targets.tflite.quantise import check_names, quantise
from qlot.export.targets.tflite.storage import store
from qlot.runtime.bundle.manifest import DelegationSpec, StageSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions.tflite import TFLiteSession
from qlot.runtime.quiet import quiet

with quiet():
    import litert_torch


def convert(stage: Stage, plan: SchemePlan, calibration: StageInputs | None) -> Graph:
    """Convert a stage.

    Raises:
        TargetError: the lowering is not dense, the converter failed, or the engine does not run the result as it must.
    """
    if stage.module.model.lowering != "dense":
        raise TargetError("target tflite takes the dense lowering only: leave --lowering out.")
    if plan.calibrated and not calibration:
        raise TargetError(f"scheme {plan.name} needs calibration inputs for the {stage.name}")
    named = NamedStage(stage).eval()
    known = {scope: path.removeprefix("stage").removeprefix(".") for scope, path in scopes(named).items()}
    traced = trace(stage, named)
    model = read(traced)
    found = operators(model)
    check_names(found, stage, plan, known)
    macs = sum(o.macs for o in found)
    model = quantise(traced, model, stage.name, plan, known, calibration)
    store(model, plan)
    shorten_names(model, known)
    data = written(model)
    split = check(data, stage, calibration)
    return Graph(data, ".tflite", macs, histogram(operators(model)), delegation=split)


def trace(stage: Stage, named: NamedStage) -> bytes:
    """Convert a stage in float32, with its canonical tensor names.

    Raises:
        TargetError: the converter failed.
    """
    example = {t.name: torch.zeros(t.shape) for t in stage.inputs}
    with torch.inference_mode(mode=False), torch.no_grad():
        try:
            converted = litert_torch.signature(stage.name, named, sample_kwargs=example).convert()
            return converted.model_content()
        except Exception as e:  # the converter's exceptions share no base class
            raise TargetError(f"litert-torch failed on the {stage.name}: {e}") from e


def check(data: bytes, stage: Stage, calibration: StageInputs | None) -> DelegationSpec:
    """Run a converted stage, the first graph of a file, once in the engine; return how much of it the delegate took.

    A file may load and yet fall apart into many partitions that hand tensors back and forth; it is not written.

    Raises:
        TargetError: it does not run, or the delegate leaves operators of a refiner outside.
    """
    found = run_once(data, stage, calibration).delegation
    assert found is not None, "the engine tells of a file's first graph"
    if stage.name != "extractor" and found.partitions != 1:
        raise TargetError(
            f"the {stage.name} runs in {found.partitions} XNNPACK partitions, wanted 1; "
            f"outside are: {', '.join(f'{n} {op}' for op, n in found.outside.items()) or 'none'}"
        )
    return found


def run_once(data: bytes, stage: Stage, calibration: StageInputs | None) -> TFLiteSession:
    """Run a converted stage once and return its session: a file may load and yet fail under the delegate.

    Raises:
        TargetError: the engine refuses the file or fails, or outputs are not finite.
    """
    spec = StageSpec(file="", iterations=stage.iterations, inputs=stage.inputs, outputs=stage.outputs, macs=0, ops={})
    feeds = calibration[0] if calibration else {t.name: np.zeros(t.shape, np.float32) for t in stage.inputs}
    try:
        session = TFLiteSession(data, spec, stage.name)
        outputs = session.run(feeds)
    except SessionError as e:
        raise TargetError(f"the converted {stage.name} does not run: {e}") from e
    broken = sorted(name for name, value in outputs.items() if not np.isfinite(value).all())
    if broken:
        raise TargetError(f"the converted {stage.name} returns values that are not finite in: {', '.join(broken)}")
    return session
