"""ONNX graphs, and graphs in ONNX Runtime's own format, in ONNX Runtime, on the CPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from qlot.runtime.bundle.limits import printable
from qlot.runtime.bundle.manifest import StageSpec, TensorSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions.base import Tensors, check_tensors, check_threads
from qlot.runtime.network.sessions.onnx_file import check_onnx
from qlot.runtime.network.sessions.ort_file import check_ort

MAX_MEMORY = 2 * 2**30  # bytes for all sessions of a process; `final` with 478 landmarks takes 100 MB
ORT_FORMAT, _IDENTIFIER = b"ORTM", slice(4, 8)  # what a flatbuffer of ONNX Runtime carries, and where
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}


class OnnxSession:
    """One stage in ONNX Runtime. Built from bytes, so what runs is what was hashed.

    Raises:
        SessionError: the graph reads other files, asks for too much or does not load, or its interface is not the
            manifest's.
    """

    engine = f"onnxruntime {ort.__version__} CPU"

    def __init__(self, data: bytes, stage: StageSpec, name: str, threads: int = 1) -> None:
        check_threads(name, threads)
        self.inputs, self.outputs, self._name = stage.inputs, stage.outputs, name
        (check_ort if data[_IDENTIFIER] == ORT_FORMAT else check_onnx)(data, name)
        _limit_memory()
        try:
            self._session = ort.InferenceSession(
                data,
                engine_options(threads),
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # it would print to standard output and try the same once more
            )
            graph_inputs, graph_outputs = self._session.get_inputs(), self._session.get_outputs()
        except Exception as e:  # the engine's exceptions share no base class
            raise SessionError(f"{name}: {self.engine} refuses the graph: {printable(str(e), 1000)}") from e
        _compare(name, "input", graph_inputs, stage.inputs)
        _compare(name, "output", graph_outputs, stage.outputs)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Tensors:
        """Run the graph once; see `Session.run`."""
        check_tensors(self._name, feeds, self.inputs)
        names = [s.name for s in self.outputs]
        try:
            values = self._session.run(names, dict(feeds))
        except Exception as e:
            raise SessionError(f"{self._name}: {self.engine} failed: {printable(str(e), 1000)}") from e
        found: Tensors = dict(zip(names, values, strict=True))
        check_tensors(self._name, found, self.outputs)  # a graph may declare one shape and compute another
        return found


def load(data: bytes, stage: StageSpec, name: str, threads: int) -> OnnxSession:
    """Return the session of an ONNX graph; see `OnnxSession`."""
    return OnnxSession(data, stage, name, threads)


def engine_options(threads: int) -> ort.SessionOptions:
    """Return how graphs are run: one operator after another, fully optimised, `threads` threads inside each."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors
    # Spinning between the operators of a run saves wake-ups; between frames it would only burn a core.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Second walls behind check_onnx. Shapes that the file declares must be those that the engine infers, and memory
    # comes from a place of limited size.
    options.add_session_config_entry("session.strict_shape_type_inference", "1")
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Tensors may only be read from below this folder, which is none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


@cache
def _limit_memory() -> None:
    """Give the engine's sessions of this process one place for their memory, of at most `MAX_MEMORY` bytes."""
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    with contextlib.suppress(Exception):  # the program that this runs in may have set one before: then that counts
        ort.create_and_register_allocator(place, ort.OrtArenaCfg({"max_mem": MAX_MEMORY}))


def _compare(name: str, kind: str, nodes: list[Any], specs: tuple[TensorSpec, ...]) -> None:
    graph = {n.name: (_DTYPES.get(n.type, n.type), tuple(n.shape)) for n in nodes}
    manifest = {s.name: (s.dtype, s.shape) for s in specs}
    for key in sorted(graph.keys() | manifest.keys()):
        if graph.get(key) != manifest.get(key):
            got, wanted = (" ".join(map(str, d[key])) if key in d else "missing" for d in (graph, manifest))
            raise SessionError(
                f"{name}: {kind} {key!r} is {got} in the graph, {wanted} in the manifest. Export the bundle again."
            )
