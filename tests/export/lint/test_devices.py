"""The tables of devices: what can be chosen, and what is refused in one line."""

from __future__ import annotations

import pytest

from qlot.export.lint.devices import all_families, chosen_families, oldest_engine, tables
from qlot.export.lint.graph import LintError


def test_every_family_runs_some_target_and_every_unit_has_a_source() -> None:
    units = {f.unit(t) for f in all_families() for t in ("coreml", "onnx", "tflite")} - {None, "cpu"}
    assert units == {"ane", "coreml-ep", "gpu-delegate", "qnn-ep", "xnnpack", "xnnpack-ep"}
    assert all(len(tables()[unit]["source"]) > 20 for unit in units)


def test_all_fitting_families_or_one() -> None:
    assert [f.name for f in chosen_families(None, "tflite")] == ["adreno", "mali", "cpu"]
    assert [f.name for f in chosen_families("m4", "coreml")] == ["m4"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a99", r"no device family 'a99'; there are: a12, .*, cpu\.$"),
        ("m4", r"no tflite bundle .* adreno, mali, cpu\.$"),
    ],
)
def test_other_families_are_refused_with_those_there_are(name: str, message: str) -> None:
    with pytest.raises(LintError, match=message):
        chosen_families(name, "tflite")


def test_tables_name_nothing_twice() -> None:
    ops = [op for tier in tables()["ane"]["ops"].values() for op in tier]
    assert len(ops) == len(set(ops))
    for unit in ("gpu-delegate", "xnnpack", "coreml-ep", "qnn-ep", "xnnpack-ep"):
        assert tables()[unit]["ops"] == sorted(set(tables()[unit]["ops"])), unit
    assert set(tables()["xnnpack"]["int8"]) <= set(tables()["xnnpack"]["ops"])


def test_the_oldest_engine_of_a_graph() -> None:
    assert oldest_engine(18, 8) == "1.14"
    assert oldest_engine(18, 9) == "1.16"
    assert oldest_engine(99, 8) is None
