from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import StageSpec, TensorSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate, steps
from qlot.runtime.network.sessions import open_session, open_stage
from qlot.runtime.network.sessions.base import Session
from qlot.runtime.network.sessions.onnx import engine_options
from qlot.runtime.network.state import State, cold_start
from tests.runtime.bundles import POINTS, UNROLLED, C, N, S, write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(write_bundle(tmp_path_factory.mktemp("sessions") / "bundle", unrolled=True))


@pytest.fixture
def refiner(bundle: Bundle) -> Session:
    return open_stage(bundle, "refiner")


def spec(shape: tuple[int, ...] = (4,), dtype: str = "float32") -> StageSpec:
    def one(name: str) -> TensorSpec:
        return TensorSpec.model_validate({"name": name, "shape": shape, "dtype": dtype, "meaning": "test", "unit": "1"})

    return StageSpec(file="f.onnx", iterations=1, inputs=(one("x"),), outputs=(one("y"),), macs=0, ops={})


def model(text: str, initializers: tuple[TensorProto, ...] = ()) -> onnx.ModelProto:
    graph = onnx.parser.parse_graph(text)
    graph.initializer.extend(initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def random_feeds(session: Session) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {t.name: rng.normal(size=t.shape).astype(np.float32) for t in session.inputs}


def test_a_session_names_its_engine_and_its_tensors(bundle: Bundle, refiner: Session) -> None:
    assert re.fullmatch(r"onnxruntime \d+\.\d+\.\d+ CPU", refiner.engine)
    out = refiner.run(random_feeds(refiner))
    assert {n: (a.shape, str(a.dtype)) for n, a in out.items()} == {t.name: (t.shape, t.dtype) for t in refiner.outputs}


def test_threads_do_not_change_the_numbers(bundle: Bundle) -> None:
    one, two = open_stage(bundle, "extractor", 1), open_stage(bundle, "extractor", 2)
    feeds = random_feeds(one)
    for name, value in one.run(feeds).items():
        np.testing.assert_allclose(two.run(feeds)[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("threads", [0, -1, 65, 10**9])
def test_threads_are_bounded(bundle: Bundle, threads: int) -> None:
    with pytest.raises(SessionError, match=f"threads must be 1 to 64, got {threads}"):
        open_stage(bundle, "extractor", threads)


@pytest.mark.parametrize("radius", [0.0, 8.0])
def test_an_unrolled_refiner_equals_single_steps_with_the_gate_on_the_host(bundle: Bundle, radius: float) -> None:
    stages, gate = BundleNetwork(bundle), Gate(radius, 0.1)
    state = cold_start(POINTS, S, C)
    features = stages.extract(np.random.default_rng(1).random((1, 3, S, S), np.float32))
    *_, single = steps(stages, features, state, UNROLLED, gate)
    unrolled = stages.refine_unrolled(features, state, gate)
    np.testing.assert_allclose(unrolled.landmarks, single.landmarks, atol=1e-5)
    np.testing.assert_allclose(unrolled.hidden, single.hidden, atol=1e-6)
    other = stages.refine_unrolled(features, state, Gate(2.0, 0.1))
    assert np.abs(other.landmarks - single.landmarks).max() > 1e-2  # the gate does act


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("hidden"), r"refiner: tensors missing: \['hidden'\], unknown: \[\]"),
        (lambda f: f.update(more=f["hidden"]), r"missing: \[\], unknown: \['more'\]"),
        (
            lambda f: f.update(hidden=f["hidden"][:, :-1]),
            r"'hidden' is float32 \(1, 4, 8\), wanted float32 \(1, 5, 8\)",
        ),
        (lambda f: f.update(hidden=f["hidden"].astype(np.float64)), r"'hidden' is float64 \(1, 5, 8\), wanted float32"),
        (lambda f: f.update(hidden=f["hidden"].astype(">f4")), r"'hidden' is >f4 .*, wanted float32"),
        (lambda f: f.update(hidden=f["hidden"].tolist()), r"'hidden' is a list, wanted a numpy array"),
        (lambda f: f.update(hidden=f["hidden"][0]), r"'hidden' is float32 \(5, 8\), wanted"),
    ],
)
def test_wrong_feeds_are_named(refiner: Session, change: Callable[[dict], object], message: str) -> None:
    feeds = random_feeds(refiner)
    change(feeds)
    with pytest.raises(SessionError, match=message):
        refiner.run(feeds)


def test_a_strided_feed_is_read_as_it_looks(refiner: Session) -> None:
    feeds = random_feeds(refiner)
    strided = {**feeds, "hidden": np.asfortranarray(np.repeat(feeds["hidden"], 2, axis=2))[:, :, ::2]}
    assert not strided["hidden"].flags.c_contiguous
    np.testing.assert_array_equal(refiner.run(strided)["hidden_out"], refiner.run(feeds)["hidden_out"])


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (spec((5,)), r"refiner: input 'x' is float32 \(4,\) in the graph, float32 \(5,\) in the manifest"),
        (spec(dtype="int32"), r"input 'x' is float32 \(4,\) in the graph, int32 \(4,\)"),
        (spec((4, 1)), r"input 'x' is .* \(4, 1\) in the manifest"),
        (spec().model_copy(update={"inputs": ()}), r"input 'x' is .* in the graph, missing in the manifest"),
        (spec().model_copy(update={"outputs": spec().inputs}), r"output 'x' is missing in the graph"),
    ],
)
def test_the_graph_has_the_manifests_interface(stage: StageSpec, message: str) -> None:
    data = model("g (float[4] x) => (float[4] y) { y = Relu (x) }").SerializeToString()
    open_session("onnx", data, spec(), "refiner")
    with pytest.raises(SessionError, match=message):
        open_session("onnx", data, stage, "refiner")


def test_free_dimensions_are_not_fixed_ones() -> None:
    data = model("g (float[n] x) => (float[n] y) { y = Relu (x) }").SerializeToString()
    with pytest.raises(SessionError, match=r"input 'x' is float32 \('n',\) in the graph"):
        open_session("onnx", data, spec(), "refiner")


def test_a_graph_that_breaks_its_own_promise_is_caught() -> None:
    """It declares four numbers and returns as many as its input asks for."""
    text = """g (float[4] x) => (float[4] y) {
        five = Constant <value_ints = [5]> ()
        ones = Relu (x)
        first = ReduceMax <keepdims = 1> (ones)
        count = Cast <to = 7> (first)
        y = Expand (first, count)
    }"""
    session = open_session("onnx", model(text).SerializeToString(), spec(), "refiner")
    good = session.run({"x": np.full(4, 4, np.float32)})
    assert good["y"].tolist() == [4.0] * 4
    with pytest.raises(SessionError, match=r"'y' is float32 \(9,\), wanted float32 \(4,\)"):
        session.run({"x": np.full(4, 9, np.float32)})


def test_an_engine_failure_is_wrapped() -> None:
    text = "g (float[4] x) => (float[4] y) { i = Cast <to = 7> (x) \n y = Gather (x, i) }"
    session = open_session("onnx", model(text).SerializeToString(), spec(), "refiner")
    with pytest.raises(SessionError, match=r"refiner: onnxruntime .* failed: .*Gather"):
        session.run({"x": np.full(4, 99, np.float32)})


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"PK\x03\x04", b"hello, world", b"\xff" * 40, bytes(range(256)), b"\x0a\xff\xff\xff\xff\x0f"]
)
def test_what_is_no_graph_is_refused_in_silence(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SessionError, match=r"not an ONNX model|refuses the graph"):
        open_session("onnx", data, spec(), "refiner")
    assert capfd.readouterr().out == ""  # standard output belongs to the caller


@pytest.mark.parametrize("operator", [b"Relux", b"Relu\xff"])  # the engine's message is then no UTF-8
def test_an_unknown_operator_is_refused_in_silence(operator: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    data = model("g (float[4] x) => (float[4] y) { y = Relux (x) }").SerializeToString().replace(b"Relux", operator)
    with pytest.raises(SessionError, match="refuses the graph"):
        open_session("onnx", data, spec(), "refiner")
    assert capfd.readouterr().out == ""


# --- external data: a graph must not read other files -------------------------------------------------------------


def external(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def in_initializer(tensor: TensorProto) -> onnx.ModelProto:
    return model("g (float[4] x) => (float[4] y) { y = Sub (w, x) }", (tensor,))


def in_constant(tensor: TensorProto) -> onnx.ModelProto:
    made = model("g (float[4] x) => (float[4] y) { y = Sub (w, x) }")
    made.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    return made


def in_branch(tensor: TensorProto) -> onnx.ModelProto:
    y = helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])
    branch = helper.make_graph([helper.make_node("Identity", ["w"], ["b"])], "b", [], [y], [tensor])
    made = model("g (float[4] x) => (float[4] y) { s = ReduceMax <keepdims = 0> (x) \n c = Cast <to = 9> (s) }")
    made.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    return made


def in_function(tensor: TensorProto) -> onnx.ModelProto:
    body = [helper.make_node("Constant", [], ["w"], value=tensor), helper.make_node("Sub", ["w", "x"], ["y"])]
    opset = helper.make_opsetid("", 18)
    made = model("g (float[4] x) => (float[4] y) { y = local.F (x) }")
    made.functions.append(helper.make_function("local", "F", ["x"], ["y"], body, [opset]))
    made.opset_import.append(helper.make_opsetid("local", 1))
    return made


def in_sparse(tensor: TensorProto) -> onnx.ModelProto:
    made = model("g (float[4] x) => (float[4] y) { y = Sub (w, x) }")
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [4]))
    return made


@pytest.mark.parametrize("build", [in_initializer, in_constant, in_branch, in_function, in_sparse])
@pytest.mark.parametrize("location", ["secret.bin", "../run/secret.bin", "{absolute}"])
def test_external_data_is_refused_wherever_it_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Callable[[TensorProto], onnx.ModelProto], location: str
) -> None:
    place = tmp_path / "run"
    place.mkdir()
    np.arange(4, dtype=np.float32).tofile(place / "secret.bin")
    monkeypatch.chdir(place)  # where the engine would look
    data = build(external("w", location.format(absolute=place / "secret.bin"))).SerializeToString()
    held = build in (in_branch, in_function, in_sparse)  # refused for what holds the tensor
    with pytest.raises(SessionError, match="no exported graph has" if held else "keeps tensors in other files"):
        open_session("onnx", data, spec(), "refiner")


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        (b"\x70\x01", "keeps tensors in other files"),
        (b"\x70\x81\x00", "keeps tensors in other files"),  # a padded value
        (b"\x70\x00\x70\x01", "keeps tensors in other files"),  # given twice: the last one counts
        (b"\xf0\x80\x00\x01", "keeps tensors in other files"),  # a padded field number
        (b"\xf0\x80\x80\x80\x10\x01", "not an ONNX model"),  # one of 33 bits, which the engine cuts to 32
    ],
)
def test_external_data_cannot_hide_behind_another_encoding(encoding: bytes, message: str) -> None:
    tensor = external("w", "secret.bin").SerializeToString()
    assert tensor.count(b"\x70\x01") == 1  # field 14, data_location = EXTERNAL
    raw = tensor.replace(b"\x70\x01", encoding)
    graph = b"\x2a" + bytes([len(raw)]) + raw  # field 5 of a graph: an initializer
    with pytest.raises(SessionError, match=message):
        open_session("onnx", b"\x3a" + bytes([len(graph)]) + graph, spec(), "refiner")


@pytest.mark.parametrize("location", ["secret.bin", "../run/secret.bin"])
def test_the_engine_alone_would_not_read_it_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    place = tmp_path / "run"
    place.mkdir()
    np.arange(4, dtype=np.float32).tofile(place / "secret.bin")
    monkeypatch.chdir(place)
    data = in_initializer(external("w", location)).SerializeToString()
    with pytest.raises(Exception, match=r"[Ee]xternal data path"):
        ort.InferenceSession(data, engine_options(1), providers=["CPUExecutionProvider"])


def test_the_same_graphs_with_the_data_inside_run() -> None:
    """The control of the two tests above: it is the location that is refused."""
    inside = helper.make_tensor("w", TensorProto.FLOAT, [4], [0.0, 1.0, 2.0, 3.0])
    inside.data_location = TensorProto.DEFAULT
    for build in (in_initializer, in_constant):
        session = open_session("onnx", build(inside).SerializeToString(), spec(), "refiner")
        assert session.run({"x": np.zeros(4, np.float32)})["y"].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_step_starts_from_the_state_it_is_given(bundle: Bundle) -> None:
    stages = BundleNetwork(bundle)
    features = stages.extract(np.zeros((1, 3, S, S), np.float32))
    cold = cold_start(POINTS, S, C)
    warm = State(cold.landmarks, np.full((1, N, C), 0.5, np.float32))
    assert not np.allclose(stages.refine(features, cold)[0], stages.refine(features, warm)[0])
