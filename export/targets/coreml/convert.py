"""Core ML: converted by coremltools, one `.mlpackage` per stage, run before it counts as converted.

Away from a Mac it runs in the project's interpreter of MIL (`qlot.mil`): that shows what was converted and
quantised, not what Apple hardware makes of it.
"""

from __future__ import annotations

import importlib.metadata
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qlot.export.errors import TargetError
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.export.targets.base import Graph, StageInputs
from qlot.export.targets.coreml.program import check_products, count_macs, histogram, operations, products
from qlot.export.targets.coreml.quantise import HalfSelector, load, quantise
from qlot.export.targets.coreml.storage import store
from qlot.export.targets.rules import FIRST_IOS
from qlot.runtime.bundle.manifest import StageSpec, TensorSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.pixels import to_bytes
from qlot.runtime.network.sessions import coreml as engine
from qlot.runtime.quiet import quiet

with quiet():
    import coremltools as ct

VERSIONS = {17: ct.target.iOS17, 18: ct.target.iOS18}  # 17 is the first with quantised activations
_CONVERSION_DATE = "com.github.apple.coremltools.conversion_date"
_FOLDER = "com.apple.CoreML"  # of a package's items, below Data


def convert(stage: Stage, plan: SchemePlan, calibration: StageInputs | None, min_ios: int = FIRST_IOS) -> Graph:
    """Convert a stage.

    Raises:
        TargetError: the lowering is not dense, the converter failed, or the result does not run or compute as it must.
    """
    if stage.module.model.lowering != "dense":
        raise TargetError("target coreml takes the dense lowering only: leave --lowering out.")
    if plan.calibrated and not calibration:
        raise TargetError(f"scheme {plan.name} needs calibration inputs for the {stage.name}")
    calibration = calibration and [as_taken(stage, feeds) for feeds in calibration]
    try:
        with torch.inference_mode(mode=False), torch.no_grad():
            exported = trace(stage)
            known = weight_paths(exported)
            lowered = lower(exported, stage, plan, known, min_ios)
            model = store(quantise(lowered, plan, known, calibration), plan)
            program = load(model)
    except Exception as e:  # the converter's exceptions share no base class
        raise TargetError(f"coremltools failed on the {stage.name}: {e}") from e
    check_products(products(operations(program), known), stage, plan)
    files = package(described(model.get_spec(), stage, plan), Path(model.weights_dir))
    check(files, stage, calibration)
    return Graph(b"", ".mlpackage", count_macs(program), histogram(program), files)


def trace(stage: Stage) -> Any:
    """Export a stage for the converter, which knows ATen's operators but not all that PyTorch puts in their place."""
    return torch.export.export(stage.module, stage.example()).run_decompositions({})


def weight_paths(exported: Any) -> dict[str, str]:
    """Map the names of constants that hold weights, which survive conversion, to the paths of their modules."""
    named = exported.graph_signature.inputs_to_parameters
    return {name: path.removesuffix(".weight") for name, path in named.items() if path.endswith(".weight")}


def as_taken(stage: Stage, feeds: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Return recorded inputs as the stage's interface takes them: a picture as bytes where it is an image."""
    return {t.name: to_bytes(feeds[t.name]) if t.dtype == "uint8" else feeds[t.name] for t in stage.inputs}


def lower(exported: Any, stage: Stage, plan: SchemePlan, known: dict[str, str], min_ios: int = FIRST_IOS) -> Any:
    """Return the `MLModel` of an exported stage, its interface in float32 under the canonical names.

    An input declared uint8 becomes an RGB image, which the program scales from 0..255 to the stage's [0, 1].
    """
    half = {"float16", "int8"} & set(plan.arithmetic.values())
    return ct.convert(
        exported,
        inputs=[_input(t) for t in stage.inputs],
        outputs=[ct.TensorType(name=t.name, dtype=np.float32) for t in stage.outputs],
        minimum_deployment_target=VERSIONS[min_ios],
        compute_precision=ct.transform.FP16ComputePrecision(op_selector=HalfSelector(plan, known))
        if half
        else ct.precision.FLOAT32,
        skip_model_load=True,
    )


def described(spec: Any, stage: Stage, plan: SchemePlan) -> Any:
    """Return a model description with the texts that Xcode shows, and without the date, which no two exports share."""
    metadata = spec.description.metadata
    calls = "once per frame" if not stage.iterations else f"{stage.iterations} refinement step(s)"
    metadata.shortDescription = f"QLOT face landmark tracker, {stage.name}: {calls}. Scheme {plan.name}."
    metadata.author = "QLOT mobile"
    metadata.license = "see LICENSE and NOTICE of the bundle"
    metadata.versionString = importlib.metadata.version("qlot-mobile")
    metadata.userDefined.pop(_CONVERSION_DATE, None)
    tensors = {t.name: t for t in (*stage.inputs, *stage.outputs)}
    for feature in (*spec.description.input, *spec.description.output):
        feature.shortDescription = _text(tensors[feature.name])
    return spec


def package(spec: Any, weights: Path) -> dict[str, bytes]:
    """Return the files of a package by path inside it. The same model gives the same bytes.

    Args:
        spec: the model description.
        weights: folder of the weights files.
    """
    items = {"model.mlmodel": ("CoreML Model Specification", spec.SerializeToString(deterministic=True))}
    items |= {f"weights/{p.name}": ("CoreML Model Weights", p.read_bytes()) for p in sorted(weights.iterdir())}
    identifiers = {name: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_FOLDER}/{name}")).upper() for name in items}
    entries = {
        identifiers[name]: {"author": _FOLDER, "description": text, "name": name, "path": f"{_FOLDER}/{name}"}
        for name, (text, _) in items.items()
    }
    listing = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": identifiers["model.mlmodel"],
    }
    files = {f"Data/{_FOLDER}/{name}": data for name, (_, data) in items.items()}
    return {"Manifest.json": json.dumps(listing, indent=4).encode(), **files}


def check(
    files: Mapping[str, bytes], stage: Stage, calibration: StageInputs | None, function: str | None = None
) -> None:
    """Run a converted stage once, from a package of its own or as a function of one.

    Raises:
        TargetError: the engine refuses the package or fails, or outputs are not finite.
    """
    spec = StageSpec(
        file="", function=function, iterations=stage.iterations, inputs=stage.inputs, outputs=stage.outputs, macs=0,
        ops={},
    )  # fmt: skip
    feeds = calibration[0] if calibration else {t.name: np.zeros(t.shape, t.dtype) for t in stage.inputs}
    try:
        outputs = engine.load(files, spec, stage.name, threads=1).run(feeds)
    except SessionError as e:
        raise TargetError(f"the converted {stage.name} does not run: {e}") from e
    broken = sorted(name for name, value in outputs.items() if not np.isfinite(value).all())
    if broken:
        raise TargetError(f"the converted {stage.name} returns values that are not finite in: {', '.join(broken)}")


def _input(tensor: TensorSpec) -> Any:
    if tensor.dtype == "uint8":
        colours = ct.colorlayout.RGB
        return ct.ImageType(name=tensor.name, shape=tensor.shape, scale=1 / 255, color_layout=colours)
    return ct.TensorType(name=tensor.name, shape=tensor.shape, dtype=np.float32)


def _text(tensor: TensorSpec) -> str:
    return f"{tensor.meaning}; {'x'.join(map(str, tensor.shape))} {tensor.dtype}; unit: {tensor.unit}"
