"""Graphs that ask for too much are refused from their files, on every target, before an engine sees them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlot.runtime.bundle.limits import MAX_ELEMENTS, MAX_OPERATORS
from qlot.runtime.bundle.manifest import StageSpec, TensorSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions import budget, open_session
from qlot.runtime.network.sessions.coreml_file import check_package
from qlot.runtime.network.sessions.onnx_file import check_onnx
from qlot.runtime.network.sessions.ort_file import check_ort
from qlot.runtime.network.sessions.tflite_file import check_tflite

LOOP = """
g (float[4] x) => (float[4] y) {
  count = Constant <value_int = 4611686018427387904> ()
  go = Constant <value = bool {1}> ()
  y = Loop (count, go, x) <body = b (int64 i, bool c, float[4] a) => (bool d, float[4] e) { d = Identity (c)
                                                                                           e = Tanh (a) }>
}"""


def spec(elements: int = 4) -> StageSpec:
    tensors = [
        TensorSpec(name=name, shape=(elements,), dtype="float32", meaning="test", unit="1") for name in ("x", "y")
    ]
    return StageSpec(file="f", iterations=1, inputs=tuple(tensors[:1]), outputs=tuple(tensors[1:]), macs=0, ops={})


def model(text: str, **constants: np.ndarray) -> onnx.ModelProto:
    graph = onnx.parser.parse_graph(text)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def chain(count: int) -> onnx.ModelProto:
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    node = made.graph.node[0]
    made.graph.node.extend([node] * (count - 1))
    return made


def large_constant() -> onnx.ModelProto:
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    made.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**20, 2**20]))
    return made


def large_value() -> onnx.ModelProto:
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    made.graph.value_info.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, [2**34, 3]))
    return made


def deep_shape() -> onnx.ModelProto:
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    made.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1] * 100_000))
    return made


def constants(count: int) -> onnx.ModelProto:
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    made.graph.initializer.extend([TensorProto(name="w")] * count)
    return made


def with_function() -> onnx.ModelProto:
    """Functions that call functions twice each grow to 2**60 operators when the engine puts them in place."""
    made = model("g (float[4] x) => (float[4] y) { y = local.F0 (x) }")
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    for i in range(60):
        call = f"F{i + 1}" if i < 59 else "Relu"
        body = [helper.make_node(call, [a], [b], domain="local" if i < 59 else "") for a, b in ("xt", "ty")]
        made.functions.append(helper.make_function("local", f"F{i}", ["x"], ["y"], body, opset))
    made.opset_import.append(opset[1])
    return made


def sparse() -> onnx.ModelProto:
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    values, places = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0]), helper.make_tensor("i", 7, [1], [0])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2**40]))
    return made


ONNX: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a loop": (lambda: model(LOOP), "an operator that holds a graph"),
    "functions": (with_function, "functions of its own"),
    "sparse weights": (sparse, "sparse weights"),
    "operators": (lambda: chain(MAX_OPERATORS + 1), "20,001 operators or more"),
    "a constant": (large_constant, "more than 134,217,728 elements"),
    "a value": (large_value, "more than 134,217,728 elements"),
    "dimensions": (deep_shape, "16 dimensions"),
}


@pytest.mark.parametrize("case", ONNX)
def test_onnx_graphs_beyond_the_budget_are_refused(case: str) -> None:
    build, message = ONNX[case]
    with pytest.raises(SessionError, match=message) as caught:
        open_session("onnx", build().SerializeToString(), spec(), "refiner")
    assert str(caught.value).startswith("refiner: ") and len(str(caught.value)) < 300


def test_onnx_graphs_of_too_many_tensors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_TENSORS", 100)
    with pytest.raises(SessionError, match="101 tensors or more, 100 are allowed"):
        open_session("onnx", constants(101).SerializeToString(), spec(), "refiner")


def test_a_file_of_tiny_fields_is_not_read_to_the_end() -> None:
    start = time.process_time()
    with pytest.raises(SessionError, match="more than 500,000 fields"):
        check_onnx(b"\x08\x01" * 50_000_000, "refiner")
    assert time.process_time() - start < 60  # all of it would take minutes; a slow machine has its time


def test_the_budget_takes_what_it_says() -> None:
    check_onnx(chain(MAX_OPERATORS).SerializeToString(), "refiner")
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    made.graph.value_info.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, [MAX_ELEMENTS, "N"]))
    check_onnx(made.SerializeToString(), "refiner")


def test_a_value_larger_than_any_that_is_declared_meets_the_engines_limit(capfd: pytest.CaptureFixture[str]) -> None:
    """40,000 numbers by 40,000: 6.4 GB."""
    data = model(
        """g (float[40000] x) => (float[40000] y) { c = Unsqueeze (x, k_one)  r = Unsqueeze (x, k_zero)
        o = MatMul (c, r)  y = ReduceMax <keepdims = 0> (o, k_one) }""",
        k_one=np.array([1]), k_zero=np.array([0]),
    ).SerializeToString()  # fmt: skip
    session = open_session("onnx", data, spec(40_000), "refiner")
    with pytest.raises(SessionError, match=r"Available memory of .* is smaller than requested"):
        session.run({"x": np.zeros(40_000, np.float32)})
    small = open_session("onnx", chain(1).SerializeToString(), spec(), "refiner")  # what follows runs as ever
    assert small.run({"x": np.full(4, 2, np.float32)})["y"].tolist() == [2] * 4
    assert capfd.readouterr().out == ""


def test_a_file_that_lies_about_its_shapes_is_refused() -> None:
    made = model("g (float[4] x) => (float[4] y) { t = Relu (x)  y = Relu (t) }")
    made.graph.value_info.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, [2]))
    with pytest.raises(SessionError, match="refuses the graph"):
        open_session("onnx", made.SerializeToString(), spec(), "refiner")


# --- ORT format ------------------------------------------------------------------------------------------------------


def ort_format(made: onnx.ModelProto, folder: Path) -> bytes:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return (folder / "m.ort").read_bytes()


def test_ort_graphs_are_held_to_it_as_well(tmp_path: Path) -> None:
    good = ort_format(model("g (float[4] x) => (float[4] y) { y = Add (x, w) }", w=np.ones(4, np.float32)), tmp_path)
    assert open_session("onnx", good, spec(), "refiner").run({"x": np.ones(4, np.float32)})["y"].tolist() == [2] * 4
    with pytest.raises(SessionError, match="the operator Loop, which holds graphs"):
        open_session("onnx", ort_format(model(LOOP), tmp_path), spec(), "refiner")
    assert good.count(np.int64(4).tobytes()) >= 3  # the dimension of x, y and w
    with pytest.raises(SessionError, match="more than 134,217,728 elements"):
        check_ort(good.replace(np.int64(4).tobytes(), np.int64(2**40).tobytes()), "refiner")


def test_many_operators_in_ort_format(tmp_path: Path) -> None:
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    for i in range(50):
        made.graph.node.append(helper.make_node("Relu", ["y" if i == 0 else f"t{i - 1}"], [f"t{i}"]))
    made.graph.output[0].name = "t49"
    data = ort_format(made, tmp_path)
    check_ort(data, "refiner")
    many = data.replace(np.uint32(51).tobytes(), np.uint32(2**31).tobytes())  # lengths of vectors that have 51 entries
    with pytest.raises(SessionError, match=r"not a model in ORT format: a vector ends beyond the file|operators"):
        check_ort(many, "refiner")


# --- TFLite ----------------------------------------------------------------------------------------------------------


def tflite(change: Callable[[Any, Any, Any], object]) -> bytes:
    """Return a file of one operator, changed: called with the schema, the model and its graph."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    utils = pytest.importorskip("ai_edge_litert.tools.flatbuffer_utils")
    made, graph, code, node = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    made.version, made.operatorCodes, made.subgraphs, made.buffers = 3, [code], [graph], [schema.BufferT()]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ABS
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for tensor in graph.tensors:
        tensor.shape = [1, 4]
    node.inputs, node.outputs, graph.operators, graph.inputs, graph.outputs = [0], [1], [node], [0], [1]
    change(schema, made, graph)
    return bytes(utils.convert_object_to_bytearray(made))


def code_of(operator: str) -> Callable[[Any, Any, Any], object]:
    def change(schema: Any, made: Any, _: Any) -> None:
        number = getattr(schema.BuiltinOperator, operator)
        made.operatorCodes[0].builtinCode, made.operatorCodes[0].deprecatedBuiltinCode = number, min(number, 127)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, m, g: setattr(g, "operators", g.operators * 1000), "1,000 operators or more"),
        (lambda s, m, g: setattr(g, "tensors", g.tensors * 50), "100 tensors or more"),
        (lambda s, m, g: setattr(g.tensors[1], "shape", [2**16, 2**16]), "134,217,728 elements"),
        (lambda s, m, g: setattr(g.tensors[1], "shape", [1] * 1000), "16 dimensions"),
        (lambda s, m, g: setattr(m, "subgraphs", m.subgraphs * 100), "more than 16 graphs"),
        *((code_of(op), f"the operator {op}") for op in ("WHILE", "IF", "CALL_ONCE", "CUSTOM", "STABLEHLO_COMPOSITE")),
    ],
)
def test_tflite_graphs_beyond_the_budget_are_refused(
    change: Callable[[Any, Any, Any], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "MAX_TENSORS", 99)  # LiteRT's writer takes long for files beyond the true ones
    monkeypatch.setattr(budget, "MAX_OPERATORS", 999)
    check_tflite(tflite(lambda s, m, g: None), "refiner")
    with pytest.raises(SessionError, match=message):
        open_session("tflite", tflite(change), spec(), "refiner")


@pytest.mark.parametrize("check", [check_tflite, check_ort])
def test_a_flatbuffer_is_not_read_beyond_its_end(check: Callable[[bytes, str], None]) -> None:
    """Whatever the bytes are, they are read or refused. Cut, and with offsets that point anywhere."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(rng.integers(0, 256, rng.integers(0, 200), np.uint8).tobytes())
        data[:8] = np.uint32(rng.integers(0, len(data) + 1)).tobytes() + b"TFL3"
        try:
            check(bytes(data), "refiner")
        except SessionError as e:
            assert "refiner: the" in str(e)


# --- Core ML ---------------------------------------------------------------------------------------------------------


def put(number: int, contents: bytes | int) -> bytes:
    """Return a field of a protobuf message."""
    if isinstance(contents, int):
        return varint(number << 3) + varint(contents)
    return varint(number << 3 | 2) + varint(len(contents)) + contents


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def package(operation: bytes, count: int = 1) -> dict[str, bytes]:
    block = put(3, operation) * count
    function = put(3, put(1, b"CoreML8") + put(2, block))
    program = put(2, put(1, b"main") + put(2, function))
    listing = {"rootModelIdentifier": "i", "itemInfoEntries": {"i": {"path": "com.apple.CoreML/model.mlmodel"}}}
    return {"Manifest.json": json.dumps(listing).encode(), "Data/com.apple.CoreML/model.mlmodel": put(502, program)}


def value(*shape: int) -> bytes:
    dims = b"".join(put(3, put(1, put(1, size))) for size in shape)
    return put(2, put(1, dims))  # type -> tensor


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (package(put(1, b"while_loop") + put(4, b"")), "an operation that holds others"),
        (package(put(1, b"relu"), MAX_OPERATORS + 1), "20,001 operators"),
        (package(put(3, value(2**40))), "134,217,728 elements"),
        (package(put(5, put(1, b"val") + put(2, value(2**20, 2**20)))), "134,217,728 elements"),
        (package(put(2, put(2, put(1, put(2, value(2**40)))))), "134,217,728 elements"),
        ({**package(b""), "Data/com.apple.CoreML/model.mlmodel": put(500, b"")}, "a neural network of the old kind"),
        ({}, "no Core ML program"),
        ({"Manifest.json": b"[" * 100_000}, "no Core ML program"),
        ({"Manifest.json": b'{"rootModelIdentifier": []}'}, "no Core ML program"),
    ],
)
def test_core_ml_programs_beyond_the_budget_are_refused(files: dict[str, bytes], message: str) -> None:
    check_package(package(put(1, b"relu") + put(3, value(1, MAX_ELEMENTS))), "refiner")
    with pytest.raises(SessionError, match=message):
        open_session("coreml", files, spec(), "refiner")
