"""ONNX graphs, and graphs in ONNX Runtime's own format, in ONNX Runtime, on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import StageSpec, TensorSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions.base import Tensors, check_tensors
from qlot.runtime.network.sessions.external_data import refuse_external_data

MAX_THREADS = 64  # far above any phone or laptop; a slip such as a frame rate would exhaust the system instead
ORT_FORMAT, _IDENTIFIER = b"ORTM", slice(4, 8)  # what a flatbuffer of ONNX Runtime carries, and where
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}


class OnnxSession:
    """One stage in ONNX Runtime. Built from bytes, so what runs is what was hashed.

    Raises:
        SessionError: the graph reads other files, does not load, or its interface is not the manifest's.
    """

    engine = f"onnxruntime {ort.__version__} CPU"

    def __init__(self, data: bytes, stage: StageSpec, name: str, threads: int = 1) -> None:
        if not 1 <= threads <= MAX_THREADS:
            raise SessionError(f"{name}: threads must be 1 to {MAX_THREADS}, got {threads}")
        self.inputs, self.outputs, self._name = stage.inputs, stage.outputs, name
        if data[_IDENTIFIER] != ORT_FORMAT:  # that one has no field for the name of another file
            refuse_external_data(data, name)
        try:
            self._session = ort.InferenceSession(
                data,
                engine_options(threads),
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # it would print to standard output and try the same once more
            )
            graph_inputs, graph_outputs = self._session.get_inputs(), self._session.get_outputs()
        except Exception as e:  # the engine's exceptions share no base class
            raise SessionError(f"{name}: {self.engine} refuses the graph: {e}") from e
        _compare(name, "input", graph_inputs, stage.inputs)
        _compare(name, "output", graph_outputs, stage.outputs)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Tensors:
        """Run the graph once; see `Session.run`."""
        check_tensors(self._name, feeds, self.inputs)
        names = [s.name for s in self.outputs]
        try:
            values = self._session.run(names, dict(feeds))
        except Exception as e:
            raise SessionError(f"{self._name}: {self.engine} failed: {e}") from e
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
    # A second wall behind refuse_external_data: tensors may only be read from below this folder, which is none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


def _compare(name: str, kind: str, nodes: list[Any], specs: tuple[TensorSpec, ...]) -> None:
    graph = {n.name: (_DTYPES.get(n.type, n.type), tuple(n.shape)) for n in nodes}
    manifest = {s.name: (s.dtype, s.shape) for s in specs}
    for key in sorted(graph.keys() | manifest.keys()):
        if graph.get(key) != manifest.get(key):
            got, wanted = (" ".join(map(str, d[key])) if key in d else "missing" for d in (graph, manifest))
            raise SessionError(
                f"{name}: {kind} {key!r} is {got} in the graph, {wanted} in the manifest. Export the bundle again."
            )
