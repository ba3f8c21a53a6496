"""Core ML packages: in Core ML on a Mac, anywhere else in the MIL interpreter of the exporter.

The interpreter computes the stored program, not Apple hardware: its name says so wherever results are printed. The
Core ML engine follows coremltools' documentation; it has not been run for this version.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.limits import printable
from qlot.runtime.bundle.manifest import StageSpec, TensorSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.extras import pip_line
from qlot.runtime.network.sessions.base import Tensors, check_tensors, check_threads
from qlot.runtime.network.sessions.coreml_file import check_package

Interface = dict[str, str]  # tensor -> dtype and shape, as in messages


class _Engine(Protocol):
    name: str
    inputs: Interface
    outputs: Interface

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Tensors: ...


class CoreMLSession:
    """One stage of a bundle for Core ML. Everything is read from the package when the session is made.

    Raises:
        SessionError: no engine is installed, it refuses the package, or the interface is not the manifest's.
    """

    def __init__(self, package: Path, stage: StageSpec, name: str, threads: int = 1) -> None:
        check_threads(name, threads)
        self.inputs, self.outputs, self._name = stage.inputs, stage.outputs, name
        self._engine = _open(package, name, threads, stage.function)
        self.engine = self._engine.name
        _compare(name, "input", self._engine.inputs, stage.inputs)
        _compare(name, "output", self._engine.outputs, stage.outputs)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Tensors:
        """Run the program once; see `Session.run`."""
        check_tensors(self._name, feeds, self.inputs)
        try:
            found = self._engine.run(feeds)
        except Exception as e:  # the engines' exceptions share no base class
            raise SessionError(f"{self._name}: {self.engine} failed: {printable(str(e), 1000)}") from e
        check_tensors(self._name, found, self.outputs)
        return found


def load(files: Mapping[str, bytes], stage: StageSpec, name: str, threads: int) -> CoreMLSession:
    """Return the session of a package's files, given by path inside it; see `CoreMLSession`.

    The engines read packages from disk: so that they read what was hashed, it is written to a place of its own first,
    and removed once it is loaded.
    """
    check_package(files, name)
    with tempfile.TemporaryDirectory(prefix="qlot-") as folder:
        package = Path(folder) / f"{name}.mlpackage"
        for inside, data in files.items():
            path = package / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return CoreMLSession(package, stage, name, threads)


class _Interpreter:
    """Runs the program with PyTorch's CPU kernels."""

    def __init__(self, package: Path, threads: int, function: str | None) -> None:
        import torch  # here: the runtime must install and run without PyTorch and coremltools

        import qlot.mil as mil

        self._torch: Any = torch
        try:
            self._program = mil.load(package, function)
        except mil.MilError as e:
            raise SessionError(f"the Core ML package cannot be interpreted here: {e}") from e
        self._threads = threads
        self.name: str = mil.ENGINE
        self._images = self._program.images
        self.inputs = {
            p.name: _image(self._images[p.name], p.shape) if p.name in self._images else f"{p.dtype} {p.shape}"
            for p in self._program.inputs
        }
        self.outputs = {p.name: f"{p.dtype} {p.shape}" for p in self._program.outputs}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Tensors:
        before = self._torch.get_num_threads()  # PyTorch has one setting for the whole process
        self._torch.set_num_threads(self._threads)
        try:
            # Core ML hands an image on as its values 0..255; scaling them is the program's part.
            return self._program.run({n: x.astype(np.float32) if n in self._images else x for n, x in feeds.items()})
        finally:
            self._torch.set_num_threads(before)


class _CoreML:
    """Runs the program in Core ML, on whichever units it picks; it has no setting for threads."""

    def __init__(self, package: Path, function: str | None) -> None:
        ct = import_module("coremltools")
        self._model = ct.models.MLModel(str(package), compute_units=ct.ComputeUnit.ALL, function_name=function)
        self.name = f"Core ML on macOS {platform.mac_ver()[0]} {platform.machine()}, all units"
        array = ct.proto.FeatureTypes_pb2.ArrayFeatureType
        dtypes = {array.FLOAT32: "float32", array.FLOAT16: "float16", array.INT32: "int32", array.DOUBLE: "float64"}

        def described(feature: Any) -> str:
            if feature.name in self._images:
                i = feature.type.imageType
                return _image(i.ColorSpace.Name(i.colorSpace), (1, 3, i.height, i.width))
            a = feature.type.multiArrayType
            return f"{dtypes.get(a.dataType, 'not an array')} {tuple(a.shape)}"

        description = self._model.get_spec().description
        if function is not None:  # a package of several functions describes each apart
            description = next(f for f in description.functions if f.name == function)
        self._images = [f.name for f in description.input if f.type.WhichOneof("Type") == "imageType"]
        self.inputs = {f.name: described(f) for f in description.input}
        self.outputs = {f.name: described(f) for f in description.output}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Tensors:
        taken = {n: _picture(x) if n in self._images else x for n, x in feeds.items()}
        return {name: np.asarray(value) for name, value in self._model.predict(taken).items()}


def _picture(image: NDArray[np.uint8]) -> Any:
    """(1, 3, S, S) -> what coremltools takes for an image."""
    return import_module("PIL.Image").fromarray(np.ascontiguousarray(image[0].transpose(1, 2, 0)))


def _image(colours: str, shape: Sequence[int | None]) -> str:
    """Describe an image input as the bytes that a session takes for it."""
    return f"uint8 {tuple(shape)}" if colours == "RGB" else f"an image in {colours}"


def _open(package: Path, name: str, threads: int, function: str | None) -> _Engine:
    real = sys.platform == "darwin"
    try:
        return _CoreML(package, function) if real else _Interpreter(package, threads, function)
    except ImportError as e:
        what = "Core ML needs coremltools" if real else "away from a Mac, a Core ML package is interpreted, which needs"
        needs = "" if real else " coremltools and torch"
        raise SessionError(f"{name}: {what}{needs}: {pip_line('coreml')} ({e})") from e
    except SessionError as e:
        raise SessionError(f"{name}: {printable(str(e), 1000)}") from e
    except Exception as e:  # Core ML's errors are plain RuntimeErrors
        raise SessionError(f"{name}: Core ML refuses the package: {printable(str(e), 1000)}") from e


def _compare(name: str, kind: str, found: Interface, specs: tuple[TensorSpec, ...]) -> None:
    wanted = {s.name: f"{s.dtype} {s.shape}" for s in specs}
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            got, manifest = found.get(key, "missing"), wanted.get(key, "missing")
            raise SessionError(
                f"{name}: {kind} {key!r} is {got} in the package, {manifest} in the manifest. Export the bundle again."
            )
