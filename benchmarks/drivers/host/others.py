"""What bundles are compared with in one run: a peer's network, one graph that does everything, this core's peak."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qlot.benchmarks.drivers.host.subjects import TimedCall
from qlot.benchmarks.peers.bare import graph_inputs, onnx_graph, tflite_graph
from qlot.benchmarks.peers.environment import PeerError
from qlot.runtime.extras import pip_line

LANDMARKS = "face_landmarks_detector.tflite"  # the network inside face_landmarker.task that finds the landmarks
PEAK, SIDE = "GEMM peak", 512


def peer_network(task: Path) -> TimedCall:
    """Return MediaPipe FaceLandmarker's landmark network in LiteRT with XNNPACK: no detector, no smoothing.

    Raises:
        PeerError: no such file, none of MediaPipe's, or LiteRT is not installed.
    """
    try:
        with zipfile.ZipFile(task) as archive:
            data = archive.read(LANDMARKS)
    except (OSError, KeyError, zipfile.BadZipFile) as e:
        raise PeerError(f"{task}: not MediaPipe's face_landmarker.task ({e})") from e
    call = tflite_graph(data)
    feeds = {name: np.random.default_rng(0).random(shape, np.float32) for name, shape in graph_inputs(data).items()}
    return TimedCall("FaceLandmarker's network", "peer", _litert(), {0: lambda: call(feeds)})


def peak() -> TimedCall:
    """Return a matrix product, 512 x 512 x 512 in float32, in ONNX Runtime: the most that this core does.

    Raises:
        PeerError: `onnx`, which the graph is made with, is not installed.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ModuleNotFoundError as e:
        raise PeerError(f"--roofline: {pip_line('export')} ({e})") from e
    import onnxruntime

    square = [SIDE, SIDE]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, square) for name in ("a", "b", "c")]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "peak", tensors[:2], tensors[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    call = onnx_graph(model.SerializeToString())
    rng = np.random.default_rng(0)
    feeds = {name: rng.random(square, np.float32) for name in ("a", "b")}
    engine = f"onnxruntime {onnxruntime.__version__} CPU"
    return TimedCall(PEAK, "yardstick", engine, {0: lambda: call(feeds)}, SIDE**3)


def single_graph(calls: dict[int, Callable[[], object]]) -> TimedCall:
    """Return the same network as one graph with K steps inside (`qlot.benchmarks.studies.naive`)."""
    import onnxruntime

    return TimedCall("single graph", "peer", f"onnxruntime {onnxruntime.__version__} CPU", calls)


def _litert() -> str:
    import importlib.metadata

    return f"litert {importlib.metadata.version('ai-edge-litert')} CPU, XNNPACK"
