"""Rules of Core ML programs: each fires on a program that has what it forbids, and on none that has not."""

from __future__ import annotations

import pytest

from qlot.export.lint.finding import Severity
from qlot.export.lint.graph import StageGraph
from tests.export.lint.made import context, found, graph

ALL = context("coreml", "a13", "a14", "a15", "a16", "a17-pro", "a18", "m1", "m2", "m3", "m4")


def chain(*ops: str, usual: str = "float16", shape: tuple[int, ...] = (1, 16, 8, 32)) -> StageGraph:
    names = ["x", *(f"t{i}" for i in range(len(ops) - 1)), "y"]
    rows = [(op, [a], [b]) for op, a, b in zip(ops, names[:-1], names[1:], strict=True)]
    return graph("coreml", rows, dict.fromkeys(names, shape), usual=usual)


def test_float32_has_no_eligible_operation_and_float16_has() -> None:
    (finding,) = found(chain("relu", "add", usual="float32"), ALL)["coreml/ane-precision"]
    assert finding.text.startswith("no operation")
    assert finding.ops == {"relu": 1, "add": 1}
    assert "coreml/ane-precision" not in found(chain("relu", "add"), ALL)


def test_a_few_float32_operations_are_counted() -> None:
    made = graph(
        "coreml",
        [("relu", ["x"], ["a"]), ("cast", ["a"], ["b"]), ("exp", ["b"], ["y"])],
        {},
        dtypes={"x": "float16", "a": "float16"},
    )
    (finding,) = found(made, ALL)["coreml/ane-precision"]
    assert finding.ops == {"exp": 1}
    assert finding.text.startswith("operations in float32")


@pytest.mark.parametrize(
    ("op", "families"),
    [
        ("conv", ()),
        ("upsample_bilinear", ("a13", "m1")),
        ("sin", ("a13", "a14", "m1", "m2")),
        ("scatter", tuple(f.name for f in ALL.families)),
    ],
)
def test_operations_are_missing_on_the_families_of_the_table(op: str, families: tuple[str, ...]) -> None:
    findings = found(chain(op), ALL).get("coreml/ane-op", [])
    assert tuple(name for f in findings for name in f.families) == families


def test_rank_and_extent_have_limits_and_older_chips_are_unknown() -> None:
    assert "coreml/ane-op" in found(chain("reshape", shape=(1, 2, 2, 2, 2, 2)), ALL)
    assert "coreml/ane-op" not in found(chain("reshape", shape=(1, 2, 2, 2, 2)), ALL)
    assert "coreml/ane-op" in found(chain("linear", shape=(1, 2, 2, 2, 2)), ALL)
    (long,) = found(chain("relu", shape=(1, 1, 1, 20_000)), ALL)["coreml/ane-op"]
    assert "a15" in long.families
    assert "a16" not in long.families
    assert found(chain("relu"), context("coreml", "a12"))["coreml/ane-unknown"][0].severity is Severity.NOTE
    assert "coreml/ane-unknown" not in found(chain("relu"), ALL)


def test_a_short_last_axis_is_padded() -> None:
    assert "coreml/ane-last-axis" in found(chain("relu", shape=(1, 16, 8, 7)), ALL)
    assert "coreml/ane-last-axis" not in found(chain("relu", shape=(1, 16, 8, 8)), ALL)


def test_borders_count_inside_the_stage_only() -> None:
    rows = [("cast", ["x"], ["a"]), ("relu", ["a"], ["b"]), ("cast", ["b"], ["c"]), ("exp", ["c"], ["y"])]
    made = graph("coreml", rows, {}, dtypes={"a": "float16", "b": "float16"})
    (finding,) = found(made, ALL)["coreml/precision-border"]
    assert (finding.ops, finding.tensor) == ({"cast": 1}, "c")
    ends = graph("coreml", [("cast", ["x"], ["a"]), ("cast", ["a"], ["y"])], {}, dtypes={"a": "float16"})
    assert "coreml/precision-border" not in found(ends, ALL)


def test_int8_products_need_a_new_chip() -> None:
    (finding,) = found(chain("quantize", "conv"), ALL)["coreml/int8-chip"]
    assert set(finding.families).isdisjoint({"a17-pro", "a18", "m4"})
    assert "coreml/int8-chip" not in found(chain("quantize"), context("coreml", "a17-pro", "m4"))


def test_a_package_for_a_later_system_than_promised_is_an_error() -> None:
    def needs(specification: int, promised: int) -> bool:
        made = graph("coreml", [("relu", ["x"], ["y"])], {}, versions={"specification": specification})
        return "coreml/min-ios" in found(made, context("coreml", min_ios=promised))

    assert needs(9, 17)
    assert not needs(8, 17)
    assert not needs(9, 18)
