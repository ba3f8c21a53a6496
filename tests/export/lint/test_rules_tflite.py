"""Rules of TFLite graphs: each fires on a graph that has what it forbids, and on none that has not."""

from __future__ import annotations

import numpy as np
import pytest

from qlot.export.lint.finding import Severity
from qlot.export.lint.graph import StageGraph
from tests.export.lint.made import context, found, graph

WIDE = dict.fromkeys(("x", "h", "s", "y", "m"), (98, 16))
GPU = context("tflite", "adreno", "mali")


def added(op: str = "ADD", other: str = "h", consumed: bool = True) -> StageGraph:
    """The output of a sum, which a product reads or does not."""
    rows = [(op, ["x", other], ["y"]), ("MUL", ["y" if consumed else "x", "h"], ["m"])]
    return graph("tflite", rows, WIDE, inputs=("x", "h"), outputs=("y", "m"), constants=("c",))


def test_an_addition_that_is_an_output_and_is_read_is_an_error_on_gpus_alone() -> None:
    (finding,) = found(added(), GPU)["tflite/gpu-add-output"]
    assert (finding.op, finding.tensor, finding.severity) == ("ADD", "y", Severity.ERROR)
    assert finding.families == ("adreno", "mali")
    assert finding.label == "predicted"
    assert "8599" in finding.source
    assert "tflite/gpu-add-output" not in found(added(), context("tflite", "cpu"))


@pytest.mark.parametrize(
    "silent", [added("SUB"), added(consumed=False), added(other="c")], ids=["sub", "unread", "constant"]
)
def test_a_difference_or_an_addition_nobody_reads_or_of_a_constant_is_none(silent: StageGraph) -> None:
    assert "tflite/gpu-add-output" not in found(silent, GPU)


def test_the_difference_is_the_sum_to_the_bit() -> None:
    """What took the place of the addition in the refiner: h + u (c - h) = h - u (h - c)."""
    h, u, c = np.random.default_rng(0).normal(size=(3, 10_000)).astype(np.float32)
    np.testing.assert_array_equal(h + u * (c - h), h - u * (h - c))


def test_operands_of_different_ranks_are_misaligned_unless_one_is_a_constant_or_a_single_value() -> None:
    def mixed(shape: tuple[int, ...], constants: tuple[str, ...] = (), op: str = "ADD") -> StageGraph:
        shapes = {"x": (1, 98, 16), "h": shape, "y": (1, 98, 16)}
        return graph("tflite", [(op, ["x", "h"], ["y"])], shapes, inputs=("x", "h"), constants=constants)

    assert "tflite/gpu-mixed-rank" in found(mixed((98, 16)), GPU)
    for silent in (mixed((1, 98, 16)), mixed((98, 16), ("h",)), mixed((1,)), mixed((98, 16), op="SUB")):
        assert "tflite/gpu-mixed-rank" not in found(silent, GPU)


@pytest.mark.parametrize(
    ("op", "rank"), [("GATHER_ND", 2), ("BROADCAST_TO", 4), ("RESHAPE", 5), ("MUL", 2), ("RESHAPE", 4)]
)
def test_what_the_gpu_does_not_take_is_named(op: str, rank: int) -> None:
    made = graph("tflite", [(op, ["x"], ["y"])], {"x": (2,) * rank, "y": (2,) * rank})
    hits = found(made, GPU).get("tflite/gpu-op", [])
    assert bool(hits) == (op in ("GATHER_ND", "BROADCAST_TO") or rank == 5)
    assert all(f.op == op and f.ops == {op: 1} for f in hits)


def test_one_tensor_twice_is_refused_but_for_products_and_sums() -> None:
    def twice(op: str) -> StageGraph:
        return graph("tflite", [(op, ["x", "x"], ["y"])], WIDE)

    assert "tflite/gpu-op" in found(twice("DIV"), GPU)
    assert "tflite/gpu-op" not in found(twice("MUL"), GPU)


def test_attention_of_rank_3_with_heads_as_batch_is_a_warning() -> None:
    def attention(heads: int, softmax: str = "SOFTMAX") -> StageGraph:
        shapes = dict.fromkeys(("q", "k", "v", "s", "w", "y"), (heads, 8, 8))
        rows = [("BATCH_MATMUL", ["q", "k"], ["s"]), (softmax, ["s"], ["w"]), ("BATCH_MATMUL", ["w", "v"], ["y"])]
        return graph("tflite", rows, shapes, inputs=("q", "k", "v"))

    assert "tflite/gpu-batched-attention" in found(attention(4), GPU)
    assert "tflite/gpu-batched-attention" not in found(attention(1), GPU)
    assert "tflite/gpu-batched-attention" not in found(attention(4, "LOGISTIC"), GPU)


def test_int8_values_are_a_note_on_gpus() -> None:
    rows = [("CONV_2D", ["x", "w"], ["y"])]
    int8 = graph("tflite", rows, {}, constants=("w",), dtypes={"x": "int8", "y": "int8"})
    assert found(int8, GPU)["tflite/gpu-int8"][0].severity is Severity.NOTE
    assert "tflite/gpu-int8" not in found(graph("tflite", rows, {}, constants=("w",)), GPU)


def test_gaps_of_xnnpack_depend_on_the_type() -> None:
    cpu = context("tflite", "cpu")
    rows = [("MAXIMUM", ["x", "c"], ["y"])]
    int8 = graph("tflite", rows, {}, constants=("c",), usual="int8")
    assert "tflite/xnnpack-op" in found(int8, cpu)
    assert "tflite/xnnpack-op" not in found(graph("tflite", rows, {}, constants=("c",)), cpu)
    assert "tflite/xnnpack-op" in found(graph("tflite", [("GATHER", ["x", "c"], ["y"])], {}, constants=("c",)), cpu)


def test_what_only_unpacks_constants_is_no_operation_of_a_call() -> None:
    rows = [("DEQUANTIZE", ["half"], ["w"]), ("FULLY_CONNECTED", ["x", "w"], ["y"])]
    made = graph("tflite", rows, {}, constants=("half",))
    assert [node.op for node in made.computing] == ["FULLY_CONNECTED"]
