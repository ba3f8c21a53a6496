"""Rules of ONNX graphs: each fires on a graph that has what it forbids, and on none that has not."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from qlot.export.lint.devices import tables
from qlot.export.lint.finding import Severity
from qlot.export.lint.graph import LintError, StageGraph
from tests.export.lint.made import context, found, graph


def one(op: str, shape: tuple[int, ...] = (8, 8), **attributes: object) -> StageGraph:
    return graph("onnx", [(op, ["x", "w"], ["y"], attributes)], {"x": shape, "y": shape}, constants=("w",))


@pytest.mark.parametrize(
    ("opset", "ir", "rules"), [(18, 8, []), (21, 8, ["opset"]), (18, 10, ["ir"]), (21, 10, ["ir", "opset"])]
)
def test_opset_and_ir_are_held_against_a_pinned_engine(opset: int, ir: int, rules: list[str]) -> None:
    made = graph("onnx", [("Relu", ["x"], ["y"])], {}, versions={"opset": opset, "ir": ir})
    findings = found(made, context("onnx", "cpu", engine_version="1.17"))
    assert sorted(rule for rule in findings if rule in ("onnx/opset", "onnx/ir")) == [f"onnx/{r}" for r in rules]
    assert all(f.severity is Severity.ERROR for r in rules for f in findings[f"onnx/{r}"])
    assert "onnx/oldest-engine" not in findings


def test_without_a_pinned_engine_the_oldest_one_is_named() -> None:
    made = graph("onnx", [("Relu", ["x"], ["y"])], {}, versions={"opset": 18, "ir": 8})
    (finding,) = found(made, context("onnx", "cpu"))["onnx/oldest-engine"]
    assert "ONNX Runtime 1.14" in finding.text


def test_an_engine_out_of_the_table_is_refused_in_one_line() -> None:
    made = graph("onnx", [("Relu", ["x"], ["y"])], {}, versions={"opset": 18, "ir": 8})
    with pytest.raises(LintError, match=r"'0\.1' is not in the table .* from 1\.10 to 1\.20"):
        found(made, context("onnx", engine_version="0.1"))


@pytest.mark.parametrize(
    ("family", "rule", "inside", "outside"),
    [("a16", "onnx/coreml-ep-op", "Conv", "GatherElements"), ("qualcomm-npu", "onnx/qnn-ep-op", "Gather", "Loop")],
)
def test_what_a_provider_lacks_is_named(family: str, rule: str, inside: str, outside: str) -> None:
    where = context("onnx", family)
    assert rule not in found(one(inside), where)
    assert found(one(outside), where)[rule][0].ops == {outside: 1}


def test_details_of_providers() -> None:
    apple, cpu, npu = (context("onnx", name) for name in ("a16", "cpu", "qualcomm-npu"))
    computed = graph("onnx", [("Gemm", ["x", "h"], ["y"])], {}, inputs=("x", "h"))
    assert "onnx/coreml-ep-op" in found(computed, apple)
    assert "onnx/coreml-ep-op" not in found(one("Gemm"), apple)
    assert "onnx/xnnpack-ep-op" in found(one("MatMul", (2, 8, 8)), cpu)
    assert "onnx/xnnpack-ep-op" not in found(one("MatMul"), cpu)
    assert "onnx/qnn-ep-float" in found(one("MatMul"), npu)
    assert "onnx/qnn-ep-float" not in found(graph("onnx", [("MatMul", ["x", "w"], ["y"])], {}, usual="uint8"), npu)


def test_open_sizes_are_an_error_for_the_npu() -> None:
    made = one("Relu")
    tensors = dict(made.tensors)
    tensors["x"] = type(tensors["x"])("x", None, "float32")
    opened = StageGraph("refiner", "onnx", ("x",), ("y",), made.nodes, tensors)
    assert "onnx/qnn-ep-shape" in found(opened, context("onnx", "qualcomm-npu"))
    assert "onnx/qnn-ep-shape" not in found(made, context("onnx", "qualcomm-npu"))


def test_the_list_of_the_core_ml_provider_is_the_installed_engines() -> None:
    """ONNX Runtime ships it for its own usability checker; spelling apart (it says Argmax)."""
    spec = find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "tools/mobile_helpers/coreml_supported_mlprogram_ops.md"
    if not file.is_file():
        pytest.skip("this build of ONNX Runtime has no such list")
    theirs = {(d, op.lower()) for d, op in re.findall(r"^\|(ai\.onnx|com\.microsoft):(\w+)", file.read_text(), re.M)}
    ours = {tuple(o.lower().split(":")) if ":" in o else ("ai.onnx", o.lower()) for o in tables()["coreml-ep"]["ops"]}
    assert ours == theirs
