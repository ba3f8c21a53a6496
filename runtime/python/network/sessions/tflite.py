"""TFLite graphs in LiteRT, on the CPU: XNNPACK runs what it can, the interpreter's own kernels the rest.

The engine checks how a file is built, but trusts the numbers in it: a crafted file can end the process. A bundle's
hashes keep damage out, not malice; open bundles of strangers in a process of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.limits import printable
from qlot.runtime.bundle.manifest import DelegationSpec, StageSpec, TensorSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions.base import Tensors, check_tensors, check_threads
from qlot.runtime.network.sessions.tflite_file import check_tflite
from qlot.runtime.quiet import quiet

with quiet():
    from ai_edge_litert.interpreter import Interpreter


_IDENTIFIER = slice(4, 8)  # where a flatbuffer carries its file identifier
_DELEGATE = "DELEGATE"  # what the interpreter calls a partition that a delegate took over


class TFLiteSession:
    """One stage in LiteRT. Built from bytes, so what runs is what was hashed.

    Attributes:
        delegation: what the delegate took over of this stage; None where the engine cannot tell, because it lists the
            operators of a file's first graph alone and this stage's is another.

    Raises:
        SessionError: the graph does not load, or its interface is not the manifest's.
    """

    def __init__(self, data: bytes, stage: StageSpec, name: str, threads: int = 1) -> None:
        check_threads(name, threads)
        if data[_IDENTIFIER] != b"TFL3":  # the engine would read such bytes as offsets
            raise SessionError(f"{name}: the file is not a TFLite model. Export the bundle again.")
        check_tflite(data, name)
        self.inputs, self.outputs, self._name = stage.inputs, stage.outputs, name
        self.engine = f"ai-edge-litert {version('ai-edge-litert')} CPU"
        try:
            # Loaded from memory the interpreter refers to the bytes, so they live as long as it does.
            with quiet():  # the engine says on stderr that it made a delegate
                self._interpreter = Interpreter(model_content=data, num_threads=threads)
                self._interpreter.allocate_tensors()
            key = _signature(self._interpreter, stage.function or name)
            self._runner = self._interpreter.get_signature_runner(key)
            graph_inputs, graph_outputs = self._runner.get_input_details(), self._runner.get_output_details()
        except Exception as e:  # the engine's exceptions share no base class
            raise SessionError(f"{name}: {self.engine} refuses the graph: {printable(str(e), 1000)}") from e
        _compare(name, "input", graph_inputs, stage.inputs)
        _compare(name, "output", graph_outputs, stage.outputs)
        first = delegation(self._interpreter)
        if first.partitions:
            self.engine += " XNNPACK"
        self.delegation = None if self._runner._subgraph_index else first  # no public way tells the two apart

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Tensors:
        """Run the graph once; see `Session.run`."""
        check_tensors(self._name, feeds, self.inputs)
        try:
            found: Tensors = self._runner(**feeds)
        except Exception as e:
            raise SessionError(f"{self._name}: {self.engine} failed: {printable(str(e), 1000)}") from e
        check_tensors(self._name, found, self.outputs)
        return found


def load(data: bytes, stage: StageSpec, name: str, threads: int) -> TFLiteSession:
    """Return the session of a TFLite graph; see `TFLiteSession`."""
    return TFLiteSession(data, stage, name, threads)


def delegation(interpreter: Interpreter) -> DelegationSpec:
    """Read back what the delegate took over of an allocated interpreter's first graph.

    The interpreter lists replaced operators beside the partitions that replaced them, without saying which is which.
    Walking back from the outputs tells: a value that a partition computes needs the partition's inputs, any other
    value needs the inputs of its own operator, which therefore still runs.
    """
    nodes = interpreter._get_ops_details()  # the interpreter offers no other list of its operators
    partitions = [n for n in nodes if n["op_name"] == _DELEGATE]
    makers = {int(t): n for n in nodes if n["op_name"] != _DELEGATE for t in n["outputs"]}
    makers |= {int(t): n for n in partitions for t in n["outputs"]}
    todo = [int(d["index"]) for d in interpreter.get_output_details()]
    running: dict[int, str] = {}
    while todo:
        maker = makers.get(todo.pop())  # None: an input or a constant
        if maker is not None and maker["index"] not in running:
            running[maker["index"]] = maker["op_name"]
            todo += [int(t) for t in maker["inputs"] if t >= 0]
    outside = Counter(op for op in running.values() if op != _DELEGATE)
    return DelegationSpec(delegate="XNNPACK", partitions=len(partitions), outside=dict(sorted(outside.items())))


def _signature(interpreter: Interpreter, name: str) -> str:
    """Check that the file has the stage's signature: it may hold several stages, one signature each."""
    signatures = interpreter.get_signature_list()
    if name not in signatures:
        raise ValueError(f"its signatures are {sorted(signatures)}, wanted {name!r}")
    return name


def _compare(name: str, kind: str, details: Mapping[str, Mapping[str, Any]], specs: tuple[TensorSpec, ...]) -> None:
    graph = {key: (np.dtype(d["dtype"]).name, tuple(map(int, d["shape_signature"]))) for key, d in details.items()}
    manifest = {s.name: (s.dtype, s.shape) for s in specs}
    for key in sorted(graph.keys() | manifest.keys()):
        if graph.get(key) != manifest.get(key):
            got, wanted = (" ".join(map(str, d[key])) if key in d else "missing" for d in (graph, manifest))
            raise SessionError(
                f"{name}: {kind} {key!r} is {got} in the graph, {wanted} in the manifest. Export the bundle again."
            )
