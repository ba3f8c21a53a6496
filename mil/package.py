"""Reading a CoreML package: a folder with a list of its items, a model file and a weights file.

The list is read here, not by coremltools' ModelPackage, which creates one where it is missing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qlot.mil._coremltools import Model_pb2, constants_of_any_precision, milproto, quiet
from qlot.mil.errors import PackageError

AGAIN = "Export or download the package again."


def read_spec(path: Path) -> tuple[Any, Path]:
    """Read a package's model description.

    Returns:
        The protobuf message and the folder of its weights, which need not exist.

    Raises:
        PackageError: no package, incomplete, or unreadable.
    """
    if not path.is_dir():
        raise PackageError(
            f"{path} is no .mlpackage: {'it is a file' if path.is_file() else 'there is no such folder'}."
        )
    model = _root_model(path)
    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(model.read_bytes())
    except OSError as e:
        raise PackageError(f"{path}: its model file cannot be read: {e}") from e
    except Exception as e:  # DecodeError of whichever protobuf implementation is installed
        raise PackageError(f"{path}: {model.name} is not a CoreML model: {e}. {AGAIN}") from e
    return spec, model.parent / "weights"


def load_program(spec: Any, weights: Path, where: str) -> Any:
    """Turn a model description into coremltools' in-memory program.

    Args:
        spec: the protobuf message.
        weights: folder of the weights files.
        where: the model's name, for messages.

    Raises:
        PackageError: no ML program, a weights file is missing or damaged, or coremltools refuses it.
    """
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise PackageError(f"{where} is a {kind or 'empty model'}, not an ML program; convert to 'mlprogram'.")
    for name in sorted(_weight_files(spec.mlProgram)):
        if not (weights / name).is_file():
            raise PackageError(f"{where}: the weights file {name} is missing. {AGAIN}")
    try:
        with quiet(), constants_of_any_precision():
            return milproto.load(spec, spec.specificationVersion, str(weights))
    except Exception as e:  # the loader raises whatever it trips over
        raise PackageError(f"{where}: coremltools cannot load the program: {e or type(e).__name__}. {AGAIN}") from e


def _root_model(path: Path) -> Path:
    """Return the model file that the package's list names."""
    listing = path / "Manifest.json"
    try:
        manifest = json.loads(listing.read_bytes())
        item = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
        model = path / "Data" / str(item)
        inside = model.resolve().is_relative_to(path.resolve())
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PackageError(f"{path}: Manifest.json is missing or damaged ({e!r}). {AGAIN}") from e
    if not inside:
        raise PackageError(f"{path}: Manifest.json names a file outside the package: {item}")
    return model


def _weight_files(program: Any) -> set[str]:
    """Names of the files that constants of the program are stored in."""
    found: set[str] = set()
    todo = [b for f in program.functions.values() for b in f.block_specializations.values()]
    while todo:
        for op in todo.pop().operations:
            todo += op.blocks
            stored = list(op.attributes.values())
            stored += [a.value for i in op.inputs.values() for a in i.arguments if a.WhichOneof("binding") == "value"]
            found |= {
                v.blobFileValue.fileName.split("/")[-1] for v in stored if v.WhichOneof("value") == "blobFileValue"
            }
    return found
