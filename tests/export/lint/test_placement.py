"""Shares, parts, borders, and what they advise."""

from __future__ import annotations

from qlot.export.lint.graph import StageGraph
from qlot.export.lint.placement import placements
from tests.export.lint.made import context, graph


def two_parts(stage: str = "refiner", side: int = 32) -> StageGraph:
    rows = [
        ("conv", ["x", "w"], ["a"], {"x": "x", "weight": "w"}),
        ("scatter", ["a"], ["b"]),
        ("conv", ["b", "w"], ["y"], {"x": "b", "weight": "w"}),
    ]
    maps = dict.fromkeys(("x", "a", "b", "y"), (1, 64, side, side))
    return graph("coreml", rows, maps | {"w": (64, 64, 3, 3)}, constants=("w",), usual="float16", stage=stage)


def test_shares_parts_and_borders() -> None:
    (found,) = placements(two_parts(), context("coreml", "a16"))
    assert (found.taken, found.operations) == (2, 3)
    assert found.macs_taken == found.macs == 2 * 64 * 32 * 32 * 64 * 9
    assert (found.partitions, found.borders) == (2, 2)
    assert found.label == "predicted"
    assert "2 parts" in found.advice


def test_families_alike_share_a_prediction() -> None:
    rows = [("relu", ["x"], ["a"]), ("upsample_bilinear", ["a"], ["y"])]
    made = graph("coreml", rows, {}, usual="float16")
    found = {p.families: p.taken for p in placements(made, context("coreml", "a13", "a14", "a16", "m1"))}
    assert found == {("a13", "m1"): 1, ("a14", "a16"): 2}


def test_the_floor_of_a_call_is_held_against_the_products() -> None:
    where = context("coreml", "a16")
    (large,) = placements(two_parts("extractor", 64), where)
    (little,) = placements(two_parts("refiner", 8), where)
    assert "floor" not in large.advice
    assert "below the floor of about 0.23 ms" in little.advice
    assert "4 calls in a cold frame, 1 in a tracked one" in little.advice


def test_one_processor_and_none() -> None:
    rows = [("ADD", ["x", "c"], ["a"]), ("GATHER", ["a", "c"], ["b"]), ("ADD", ["b", "c"], ["y"])]
    made = graph("tflite", rows, {}, constants=("c",))
    (cpu,) = placements(made, context("tflite", "cpu"))
    assert (cpu.partitions, cpu.advice) == (2, "one processor: parts cost no copies")
    (none,) = placements(graph("coreml", [("add", ["x"], ["y"])], {}), context("coreml", "a16"))
    assert (none.taken, none.advice) == (0, "stays on the CPU or GPU")
    (unknown,) = placements(graph("coreml", [("add", ["x"], ["y"])], {}, usual="float16"), context("coreml", "a12"))
    assert unknown.advice.startswith("not known")
