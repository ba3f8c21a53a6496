"""Graphs called as their engine is meant to be, one thread, without a runtime around them: what an app would pay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from qlot.benchmarks.peers.environment import PeerError
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.extras import pip_line

BARE = ("onnx", "tflite")  # targets whose graphs can be called so
Tensors = Mapping[str, NDArray[Any]]
GraphCall = Callable[[Tensors], Tensors]


def bare_stages(bundle: Bundle) -> tuple[GraphCall, GraphCall]:
    """Return the calls of a bundle's extractor and refiner; both ignore tensors that are not theirs to read.

    Raises:
        PeerError: the bundle is of another target than onnx and tflite, or has one file for all stages.
    """
    stages, load = bundle.manifest.stages, {"onnx": onnx_graph, "tflite": tflite_graph}.get(bundle.manifest.target)
    if load is None or any(stage.function for stage in stages.values()):
        raise PeerError(f"{bundle.path}: only bundles for onnx and tflite with a file for each stage are timed.")
    return load(bundle.read(stages["extractor"].file)), load(bundle.read(stages["refiner"].file))


def onnx_graph(data: bytes) -> GraphCall:
    """Open a graph in ONNX Runtime, with the runtime's options."""
    import onnxruntime

    from qlot.runtime.network.sessions.onnx import engine_options

    session = onnxruntime.InferenceSession(data, engine_options(1), providers=["CPUExecutionProvider"])
    inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]

    def call(feeds: Tensors) -> Tensors:
        return dict(zip(outputs, session.run(outputs, {name: feeds[name] for name in inputs}), strict=True))

    return call


def tflite_graph(data: bytes) -> GraphCall:
    """Open a graph in LiteRT with XNNPACK. Tensors bear the names of its first signature, or else their own.

    Raises:
        PeerError: LiteRT is not installed.
    """
    interpreter = _interpreter(data)
    if interpreter.get_signature_list():
        runner = interpreter.get_signature_runner()
        inputs = {name: d["index"] for name, d in runner.get_input_details().items()}
        outputs = {name: d["index"] for name, d in runner.get_output_details().items()}
    else:
        inputs = {d["name"]: d["index"] for d in interpreter.get_input_details()}
        outputs = {d["name"]: d["index"] for d in interpreter.get_output_details()}

    def call(feeds: Tensors) -> Tensors:
        for name, index in inputs.items():
            interpreter.set_tensor(index, feeds[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in outputs.items()}

    return call


def graph_inputs(data: bytes) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a TFLite graph's inputs, by the names that `tflite_graph` takes.

    Raises:
        PeerError: LiteRT is not installed.
    """
    interpreter = _interpreter(data)
    signed = interpreter.get_signature_list()
    details = interpreter.get_signature_runner().get_input_details() if signed else None
    named = details or {d["name"]: d for d in interpreter.get_input_details()}
    return {name: tuple(int(n) for n in d["shape"]) for name, d in named.items()}


def _interpreter(data: bytes) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as e:
        raise PeerError(f"this needs LiteRT: {pip_line('tflite')}") from e
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
