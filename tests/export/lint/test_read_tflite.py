"""TFLite files as rules see them, and the refiner's state update in files with and without the forbidden pattern."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from qlot.export.lint.graph import LintError, StageGraph
from qlot.export.lint.numpy_run import run_graph
from qlot.export.lint.read_tflite import OPS, read_tflite
from qlot.export.lint.rules_tflite import xnnpack_refusal
from tests.export import small
from tests.export.lint.made import context, found

pytest.importorskip("litert_torch", reason="needs the extra tflite")

from ai_edge_litert import schema_py_generated as schema

from tests.export.lint import flat
from tests.export.tflite_graphs import STAGES, graph

GPU = context("tflite", "adreno", "mali")
pytestmark = pytest.mark.filterwarnings("ignore")  # the converter's own, by the dozen


def exported(name: str) -> StageGraph:
    return read_tflite(graph(name, "fp32").data, name, None)


def test_the_names_of_operators_are_the_schemas() -> None:
    theirs = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    assert {code: theirs[code] for code in OPS} == OPS


def test_a_file_with_the_pattern_is_an_error_and_a_difference_in_its_place_is_not() -> None:
    assert "tflite/gpu-add-output" in found(read_tflite(flat.state_update("ADD"), "refiner", None), GPU)
    assert "tflite/gpu-add-output" not in found(read_tflite(flat.state_update("SUB"), "refiner", None), GPU)


def test_the_exported_refiner_has_no_addition_that_is_an_output_and_is_read() -> None:
    made = exported("refiner")
    findings = found(made, GPU)
    assert not {"tflite/gpu-add-output", "tflite/gpu-mixed-rank"} & set(findings)
    assert {made.makers[name].op for name in made.outputs}.isdisjoint({"ADD"})
    last = made.makers[made.makers["hidden_out"].inputs[0]]
    assert (last.op, made.readers[last.name]) == ("SUB", 2)  # the converter kept what the refiner says


@pytest.mark.parametrize("name", STAGES)
def test_interface_shapes_and_operators_are_those_of_the_stage(name: str) -> None:
    made, stage, whole = exported(name), small.stage("dense", name), graph(name, "fp32")
    assert set(made.inputs) == {t.name for t in stage.inputs}
    assert {n: made.shape(n) for n in made.outputs} == {t.name: t.shape for t in stage.outputs}
    assert Counter(node.op for node in made.nodes) == whole.ops
    assert all(made.dtype(n) == "float32" for n in made.outputs)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("scheme", ["fp32", "fp16"])
def test_what_xnnpack_was_seen_to_take_is_predicted(name: str, scheme: str) -> None:
    converted = graph(name, scheme)  # type: ignore[arg-type]
    made = read_tflite(converted.data, name, None)
    assert converted.delegation is not None
    assert converted.delegation.outside == {}
    assert [node.op for node in made.computing if xnnpack_refusal(made, node)] == []


@pytest.mark.parametrize("name", STAGES)
def test_the_graph_computed_in_numpy_is_pytorch(name: str) -> None:
    stage = small.stage("dense", name)
    feeds = small.feeds_of(stage)
    values, wanted = run_graph(exported(name), feeds), small.run_torch(stage, feeds)
    for key, value in wanted.items():
        np.testing.assert_allclose(values[key], value, atol=2e-5 * max(1, np.abs(value).max()), err_msg=key)


@pytest.mark.parametrize("data", [b"", b"no model at all, but of some length", flat.state_update("ADD")[:60]])
def test_other_files_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(LintError, match=r"^refiner: the file is not a TFLite model: [^\n]*$"):
        read_tflite(data, "refiner", None)


def test_a_missing_signature_is_named() -> None:
    with pytest.raises(LintError, match="no signature 'extractor'"):
        read_tflite(flat.state_update("ADD"), "extractor", "extractor")
