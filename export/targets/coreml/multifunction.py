"""Core ML, `--packing multifunction`: one package for all stages, a function each. From iOS 18 on.

Equal weights are stored once.

coremltools merges the packages of the stages, each converted, quantised and checked on its own; the result is described
and written as they are, so that the same model gives the same bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qlot.export.errors import TargetError
from qlot.export.graphs.stages import Stage
from qlot.export.targets.base import Graph, Packed
from qlot.export.targets.coreml import convert as coreml
from qlot.mil.package import read_spec
from qlot.runtime.bundle.manifest import StageName
from qlot.runtime.quiet import quiet

with quiet():
    import coremltools as ct

_MAIN = "main"  # what coremltools calls the one function of a package


def pack(stages: Sequence[Stage], graphs: Mapping[StageName, Graph]) -> Packed:
    """Merge the stages' packages, and run each function of the result.

    Raises:
        TargetError: coremltools failed, or a function does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            files = coreml.package(*_merged(Path(folder), {s.name: graphs[s.name].files for s in stages}))
        except Exception as e:  # coremltools' exceptions share no base class
            raise TargetError(f"coremltools failed to merge the packages: {e}") from e
    for stage in stages:
        coreml.check(files, stage, None, stage.name)
    return Packed({s.name: replace(graphs[s.name], files=files, function=s.name) for s in stages})


def _merged(folder: Path, parts: Mapping[StageName, Mapping[str, bytes]]) -> tuple[Any, Path]:
    """Merge packages, given by their files; return the description of the result, and where its weights are."""
    plan, descriptions = ct.utils.MultiFunctionDescriptor(), []
    for name, files in parts.items():
        for inside, data in files.items():
            path = folder / name / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        spec, weights = read_spec(folder / name)
        package = str(folder / f"{name}.mlpackage")
        ct.utils.save_spec(spec, package, weights_dir=str(weights))  # with the list of items that the merger looks for
        plan.add_function(package, _MAIN, name)
        descriptions.append(spec.description.metadata)
    plan.default_function_name = next(iter(parts))
    ct.utils.save_multifunction(plan, str(folder / "model.mlpackage"))
    spec, weights = read_spec(folder / "model.mlpackage")
    spec.description.metadata.CopyFrom(descriptions[0])
    spec.description.metadata.shortDescription = "\n".join(d.shortDescription for d in descriptions)
    return spec, weights
