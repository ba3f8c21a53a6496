"""ONNX files as rules see them, read without `onnx`, beside `onnx` itself."""

from __future__ import annotations

import onnx.parser
import pytest

from qlot.export.lint.graph import LintError
from qlot.export.lint.macs import node_macs
from qlot.export.lint.read_onnx import read_onnx

TEXT = """
<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>
stage (float[1,3,8,8] x, float16[2,N] open) => (float[1,4,4,4] y, float[4,5] z)
<float[4,3,2,2] w = {0}, int64[2] shape = {4, 16}, float[16,5] m>
{
  c = Conv <strides = [2, 2], kernel_shape = [2, 2]> (x, w)
  y = Relu (c)
  flat = Reshape (y, shape)
  z = MatMul (flat, m)
  q = com.microsoft.QuickGelu <alpha = 1.5> (z)
}"""


def text_model() -> onnx.ModelProto:
    model = onnx.parser.parse_model(TEXT.replace("float[4,3,2,2] w = {0}, ", "").replace(", float[16,5] m", ""))
    for name, shape in (("w", (4, 3, 2, 2)), ("m", (16, 5))):
        model.graph.initializer.append(onnx.helper.make_tensor(name, 1, shape, [0.5] * (48 if name == "w" else 80)))
    return onnx.shape_inference.infer_shapes(model)


def test_versions_interface_nodes_and_shapes() -> None:
    made = read_onnx(text_model().SerializeToString(), "extractor")
    assert made.versions == {"ir": 8, "opset": 18}
    assert (made.inputs, made.outputs) == (("x", "open"), ("y", "z"))
    assert [node.op for node in made.nodes] == ["Conv", "Relu", "Reshape", "MatMul", "com.microsoft:QuickGelu"]
    assert made.nodes[0].attributes == {"strides": (2, 2), "kernel_shape": (2, 2)}
    assert made.nodes[4].attributes["alpha"] == 1.5
    assert (made.shape("c"), made.shape("open"), made.shape("w")) == ((1, 4, 4, 4), None, (4, 3, 2, 2))
    assert (made.dtype("open"), made.stored("w"), made.stored("c")) == ("float16", True, False)
    assert [node_macs(made, node) for node in made.nodes] == [64 * 12, 0, 0, 4 * 5 * 16, 0]


@pytest.mark.parametrize("data", [b"", b"\xff" * 20, b"\x08\x08"])
def test_other_files_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(LintError, match=r"^refiner: the file is not an ONNX model: [^\n]*$"):
        read_onnx(data, "refiner")
