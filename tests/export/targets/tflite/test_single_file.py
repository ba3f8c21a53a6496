"""TFLite's single file: the stages' own graphs, bit for bit, each by its signature, and weights stored once."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

from qlot.export.errors import TargetError
from qlot.export.targets.base import Graph, Packed
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Scheme, StageSpec
from qlot.runtime.errors import IntegrityError, SessionError
from qlot.runtime.network.replay import replay
from qlot.runtime.network.sessions import open_stage
from tests.export import small

pytest.importorskip("litert_torch", reason="needs the extra tflite")

from ai_edge_litert.tools import flatbuffer_utils

from qlot.export.targets.tflite.graph import read, written
from qlot.export.targets.tflite.single_file import merged, pack, with_first
from qlot.runtime.network.sessions.tflite import TFLiteSession
from tests.export.tflite_graphs import SCHEMES, STAGES, graph
from tests.runtime.litert import model as tiny
from tests.runtime.litert import spec as tiny_spec

pytestmark = pytest.mark.filterwarnings("ignore")  # the converter's own, by the dozen


@functools.cache
def packed(scheme: Scheme) -> Packed:
    stages = [small.stage("dense", name) for name in STAGES]
    return pack(stages, {s.name: graph(s.name, scheme) for s in stages})


def session(data: bytes, name: str, function: str | None = None) -> TFLiteSession:
    s = small.stage("dense", name)
    spec = StageSpec(
        file="", function=function, iterations=s.iterations, inputs=s.inputs, outputs=s.outputs, macs=0, ops={}
    )
    return TFLiteSession(data, spec, name)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_signature_computes_what_the_stages_own_file_does(scheme: Scheme) -> None:
    for name, whole in packed(scheme).graphs.items():
        alone = graph(name, scheme)
        assert whole == dataclasses.replace(alone, data=whole.data, function=name)  # one partition, as before
        feeds = small.feeds_of(small.stage("dense", name))
        found = session(whole.data, name, whole.function).run(feeds)
        for key, value in session(alone.data, name).run(feeds).items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_is_one_file_in_which_nothing_is_stored_twice(scheme: Scheme) -> None:
    (data,) = {g.data for g in packed(scheme).graphs.values()}
    contents = [bytes(b.data) for b in read(data).buffers if b.data is not None]
    assert len(set(contents)) == len(contents)
    assert len(data) < sum(len(graph(name, scheme).data) for name in STAGES)
    assert [s.signatureKey.decode() for s in read(data).signatureDefs] == list(STAGES)


def test_equal_weights_of_two_stages_are_stored_once() -> None:
    data = graph("refiner", "w8").data
    twice = written(merged([read(data), read(_renamed(data, b"refiner_unrolled"))]))
    stored = [sum(len(b.data) for b in read(d).buffers if b.data is not None) for d in (data, twice)]
    assert stored[0] >= stored[1] > 10_000  # merging also joins equal constants of one stage
    assert len(read(twice).operatorCodes) == len(read(data).operatorCodes)


def _renamed(data: bytes, signature: bytes) -> bytes:
    model = read(data)
    model.signatureDefs[0].signatureKey = signature
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_what_the_delegate_left_outside_is_read_back_of_every_graph() -> None:
    """The engine lists the operators of the first graph alone, so that one says nothing of the others."""
    files = tiny("ABS", "NEG", signature="extractor"), tiny("ABS", "SIGN", "NEG", signature="refiner")
    whole = merged([read(f) for f in files])
    data = written(whole)
    refiner = TFLiteSession(data, tiny_spec(), "refiner")
    assert refiner.delegation is None
    assert refiner.engine.endswith(" XNNPACK")
    first = TFLiteSession(written(with_first(whole, "refiner")), tiny_spec(), "refiner").delegation
    assert first is not None
    assert (first.partitions, first.outside) == (2, {"SIGN": 1})
    x = {"x": np.array([[-1.0, 2.0, -3.0, 4.0]], np.float32)}
    assert refiner.run(x)["y"].tolist() == [[-4.0] * 4]


def test_a_stage_that_runs_otherwise_than_alone_is_refused() -> None:
    stages = [small.stage("dense", name) for name in STAGES]
    graphs: dict[str, Graph] = {name: graph(name, "fp32") for name in STAGES}
    split = graphs["extractor"].delegation
    assert split is not None
    changed = split.model_copy(update={"partitions": 3})
    graphs["extractor"] = dataclasses.replace(graphs["extractor"], delegation=changed)
    with pytest.raises(TargetError, match=r"in the single file the extractor runs as .*, in a file of its own as"):
        pack(stages, graphs)  # type: ignore[arg-type]


def test_a_stage_of_several_graphs_is_refused() -> None:
    with pytest.raises(TargetError, match="converted to several graphs cannot go into a single file"):
        merged([read(packed("fp32").graphs["refiner"].data), read(graph("refiner", "fp32").data)])


def test_a_bundle_of_a_single_file_replays(tmp_path: Path) -> None:
    bundle = Bundle.open(small.write_bundle(tmp_path / "bundle", packed("fp32").graphs, target="tflite"))
    assert {(s.file, s.function) for s in bundle.manifest.stages.values()} == {
        ("model.tflite", "extractor"),
        ("model.tflite", "refiner"),
    }
    assert [f.path for f in bundle.manifest.files if f.path.endswith(".tflite")] == ["model.tflite"]
    report = replay(bundle)
    report.check()
    assert report.max_px < 1e-3


def test_a_signature_taken_away_is_refused_by_hash_and_by_name(tmp_path: Path) -> None:
    data = packed("fp32").graphs["refiner"].data
    model = read(data)
    del model.signatureDefs[1]
    less = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    folder = small.write_bundle(tmp_path / "bundle", packed("fp32").graphs, target="tflite")
    (folder / "model.tflite").write_bytes(less)
    with pytest.raises(IntegrityError, match=r"'model\.tflite' has \d+ bytes, the manifest says"):
        Bundle.open(folder)
    graphs = {name: dataclasses.replace(g, data=less) for name, g in packed("fp32").graphs.items()}
    forged = Bundle.open(small.write_bundle(tmp_path / "forged", graphs, target="tflite"))
    open_stage(forged, "extractor")
    with pytest.raises(SessionError, match=r"its signatures are \['extractor'\], wanted 'refiner'"):
        open_stage(forged, "refiner")


def test_mixed_up_signatures_are_refused() -> None:
    data = packed("fp32").graphs["refiner"].data
    with pytest.raises(SessionError, match="refiner: input 'context' is missing in the graph"):
        session(data, "refiner", "extractor")
