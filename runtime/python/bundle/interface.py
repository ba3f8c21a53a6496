"""The tensors each stage must have, on every target (`runtime/contract/README.md`, Session interface)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from qlot.runtime.bundle.manifest import Manifest, StageName, StageSpec, TensorSpec
from qlot.runtime.errors import ManifestError

Shapes = dict[str, tuple[int, ...] | None]  # None: the features, whose shape is the extractor's own affair


def check_interface(manifest: Manifest) -> None:
    """Check the tensors of all stages, so that a tracker can rely on them without looking.

    Raises:
        ManifestError: a tensor is missing, too many or repeated, is not float32, or does not fit the bundle's sizes;
            or the refiner does not take what the extractor returns. `image` may be uint8 where it is a Core ML image.
    """
    size, n, width = manifest.preprocessing.size, len(manifest.layout.points), manifest.state.hidden[2]
    features: Shapes = {**dict.fromkeys(_levels(manifest)), "context": None}
    state: Shapes = {"landmarks": (1, n, 7), "hidden": (1, n, width)}
    result: Shapes = {"displacement": (1, n, 2), "covariance": (1, n, 3), "hidden_out": (1, n, width)}
    wanted: dict[StageName, tuple[Shapes, Shapes]] = {
        "extractor": ({"image": (1, 3, size, size)}, features),
        "refiner": ({**features, **state}, result),
        "refiner_unrolled": ({**features, **state, "gate": (2,)}, {"total_displacement": (1, n, 2), **result}),
    }
    extracted: Shapes = {t.name: t.shape for t in manifest.stages["extractor"].outputs}
    image_types = {"image": ("float32", "uint8")} if manifest.target == "coreml" else {}
    for stage, spec in manifest.stages.items():
        _check(f"{stage} inputs", spec.inputs, wanted[stage][0], extracted, image_types)
        _check(f"{stage} outputs", spec.outputs, wanted[stage][1], extracted)
        _check_iterations(stage, spec)


def _levels(manifest: Manifest) -> list[str]:
    """Name what the extractor must return for each level: windowed lookups take rows or maps, dense ones maps only."""
    extracted = {t.name for t in manifest.stages["extractor"].outputs}
    maps = manifest.lowering == "dense"
    return [f"map_{i}" if maps or f"map_{i}" in extracted else f"pyramid_{i}" for i in range(len(extracted) - 1)]


def _check(
    where: str,
    tensors: tuple[TensorSpec, ...],
    wanted: Shapes,
    extracted: Shapes,
    dtypes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> None:
    names = sorted(t.name for t in tensors)
    if names != sorted(wanted):
        raise ManifestError(f"manifest.json: {where} are {names}, wanted {sorted(wanted)}")
    for tensor in tensors:
        shape = wanted[tensor.name] or extracted[tensor.name]
        allowed = dtypes.get(tensor.name, ("float32",))
        if tensor.shape != shape or tensor.dtype not in allowed:
            got = f"{tensor.dtype} {tensor.shape}"
            raise ManifestError(
                f"manifest.json: {where}: {tensor.name!r} is {got}, wanted {' or '.join(allowed)} {shape}"
            )


def _check_iterations(stage: StageName, spec: StageSpec) -> None:
    wanted = {"extractor": spec.iterations == 0, "refiner": spec.iterations == 1}
    if not wanted.get(stage, spec.iterations >= 1):
        raise ManifestError(f"manifest.json: {stage} cannot have {spec.iterations} refinement steps")
