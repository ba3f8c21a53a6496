"""Sums in float16: bounded and emulated, and seen to overflow where they do."""

from __future__ import annotations

import numpy as np
import pytest

from qlot.export.lint.accumulate import HALF, half_sums, largest_partial
from qlot.export.lint.graph import GraphNode, GraphTensor, StageGraph
from qlot.runtime.bundle.golden import GoldenSequence

N, H, S = 3, 4, 8


def test_partial_sums_are_rounded_one_by_one() -> None:
    many = np.full((1, 4096), 1.0, np.float32)
    assert largest_partial(many, many.T) == 2048  # where float16 can no longer add one
    signs = np.array([[60_000.0, 10_000.0, -60_000.0]], np.float32)
    assert largest_partial(signs, np.ones((3, 1), np.float32)) == np.inf  # on the way, though the end is small
    assert largest_partial(signs / 2, np.ones((3, 1), np.float32)) == 35_008


def network(scale: float) -> dict[str, StageGraph]:
    """An extractor that sums a map with weights of this size, and a refiner that moves nothing."""

    def stage(
        name: str, nodes: list[GraphNode], shapes: dict[str, tuple[int, ...]], values: dict[str, np.ndarray]
    ) -> StageGraph:
        tensors = {n: GraphTensor(n, s, "float32") for n, s in shapes.items()}
        tensors |= {n: GraphTensor(n, v.shape, str(v.dtype), constant=True, values=v) for n, v in values.items()}
        made = {n for node in nodes for n in node.outputs}
        inputs = tuple(n for n in shapes if n not in made)
        outputs = ("features",) if name == "extractor" else ("displacement", "covariance", "hidden_out")
        return StageGraph(name, "tflite", inputs, outputs, tuple(nodes), tensors)

    flat = np.array([1, 3 * S * S], np.int32)
    extractor = stage(
        "extractor",
        [GraphNode("RESHAPE", ("image", "size"), ("row",)), GraphNode("FULLY_CONNECTED", ("row", "w"), ("features",))],
        {"image": (1, 3, S, S), "row": (1, 3 * S * S), "features": (1, 2)},
        {"size": flat, "w": np.full((2, 3 * S * S), scale, np.float32)},
    )
    refiner = stage(
        "refiner",
        [
            GraphNode("SLICE", ("landmarks", "begin", "two"), ("displacement",)),
            GraphNode("SLICE", ("landmarks", "second", "three"), ("covariance",)),
            GraphNode("ABS", ("hidden",), ("hidden_out",)),
        ],
        {
            "features": (1, 2), "landmarks": (1, N, 7), "hidden": (1, N, H), "displacement": (1, N, 2),
            "covariance": (1, N, 3), "hidden_out": (1, N, H),
        },
        {"begin": np.array([0, 0, 5], np.int32), "two": np.array([1, N, 2], np.int32),
         "second": np.array([0, 0, 2], np.int32), "three": np.array([1, N, 3], np.int32)},
    )  # fmt: skip
    return {"extractor": extractor, "refiner": refiner}


def golden() -> GoldenSequence:
    zeros = np.zeros((2, 4, N, 7), np.float32)
    return GoldenSequence(
        np.full((2, S, S, 3), 255, np.uint8), np.tile([4.0, 4.0, 8.0], (2, 1)), np.array([1, 1], np.int32), zeros,
        np.zeros((2, N, H), np.float32), np.array([0.0, 0.0], np.float32),
    )  # fmt: skip


@pytest.mark.parametrize(("scale", "over"), [(1.0, False), (300.0, False), (400.0, True)])
def test_a_sum_over_the_clip_overflows_or_does_not(scale: float, over: bool) -> None:
    found = half_sums(network(scale), golden(), np.zeros((N, 3)), S)
    assert found.skipped == ""
    assert found.frames == 2
    assert found.bound == pytest.approx(3 * S * S * scale, rel=1e-5)
    assert found.bound_at == ("extractor", "features")
    assert bool(found.overflows) == over
    assert (found.partial > HALF) == over
    if over:
        assert found.overflows == (("extractor", "FULLY_CONNECTED", "features"),)


def test_what_cannot_be_emulated_is_said() -> None:
    assert "--no-golden" in half_sums(network(1.0), None, np.zeros((N, 3)), S).skipped
    other = network(1.0)
    other["refiner"] = other["extractor"]  # whose outputs are none of a refiner
    assert "cannot be followed: KeyError" in half_sums(other, golden(), np.zeros((N, 3)), S).skipped
    graphs = network(1.0)
    tensors = {**graphs["extractor"].tensors, "row": GraphTensor("row", (1, 3 * S * S), "int8")}
    made = graphs["extractor"]
    graphs["extractor"] = StageGraph("extractor", "tflite", made.inputs, made.outputs, made.nodes, tensors)
    assert "computes in int8" in half_sums(graphs, golden(), np.zeros((N, 3)), S).skipped
