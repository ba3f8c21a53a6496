"""The sensitivity tool on a small network: one group at a time, the whole of them covered, and what it must notice."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from qlot.cli.main import run
from qlot.export.bundle.spec import tracker_spec
from qlot.export.graphs.schemes import LEAST_VALUES, PLANS
from qlot.export.sensitivity import measure as sensitivity
from qlot.export.sensitivity.measure import WHOLE, Cost, QuantisedScheme, Study, alone, units
from qlot.export.targets.onnx.convert import module_paths
from qlot.model.torch_network import TorchNetwork
from qlot.runtime.bundle.manifest import ConfidenceSpec
from tests.export import small

UNITS = units(len(small.SMALL.stages))
STAGES = ("extractor", "refiner")


@functools.cache
def subject() -> Study:
    confidence = ConfidenceSpec(bias=0, w_spread=-1, found=0.5, lost=0.3, calibration="none: an untrained network")
    reference = small.reference_sequence()
    cold = list(sensitivity._cold_runs(TorchNetwork(small.network(), small.layout()), reference, small.layout().points))
    stages = {s.name: s for s in small.stages("windowed")[:2]}
    spec = tracker_spec(small.SMALL, small.layout(), confidence)
    return Study(stages, spec, reference, cold, small.recorded("windowed"))


@functools.cache
def costs(scheme: QuantisedScheme) -> dict[str, Cost]:
    return {c.unit: c for c in subject().costs(scheme)}


@pytest.mark.parametrize("name", STAGES)
def test_every_weight_is_in_exactly_one_group(name: str) -> None:
    traced = small.traced("windowed", name)
    paths = module_paths(traced)
    values = {t.name: int(np.prod(t.dims)) for t in traced.graph.initializer if t.data_type == TensorProto.FLOAT}
    weights = [
        (paths[node.name], i)
        for node in traced.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul")
        for i in node.input[:2]
        if i in values and values[i] > 1
    ]
    assert len(weights) > 10
    for path, tensor in weights:
        found = [u.name for u in UNITS if u.stage == name and u.paths.fullmatch(path)]
        assert len(found) == 1, (path, tensor, found)
    named = {u.name for u in UNITS if u.stage == name and any(u.paths.fullmatch(p) for p in paths.values())}
    assert named == {u.name for u in UNITS if u.stage == name}


@pytest.mark.slow  # every group of both stages is converted
@pytest.mark.parametrize("scheme", ["w8", "w8a8"])
def test_each_group_costs_something_and_the_whole_more_than_most(scheme: QuantisedScheme) -> None:
    found = costs(scheme)
    assert set(found) == {u.name for u in UNITS if scheme in u.schemes} | {WHOLE}
    for cost in found.values():
        assert cost.scheme == scheme
        assert 0 < cost.tracked.median <= cost.tracked.max, cost
        assert np.isfinite(cost.cold_last.max)
    assert max(c.saved for c in found.values()) == found[WHOLE].saved
    medians = sorted(c.tracked.median for c in found.values())
    assert found[WHOLE].tracked.median > medians[len(medians) // 2]


@pytest.mark.slow
def test_only_the_group_changes() -> None:
    unit = next(u for u in UNITS if u.name == "slot attention")
    graph = onnx.load_from_string(subject()._graph("refiner", alone(PLANS["w8"], "w8", unit)).data)
    kinds = {t.name: t.data_type for t in graph.graph.initializer}
    assert [n for n, kind in kinds.items() if kind == TensorProto.INT8] == [
        "model.refiner.mixer.slot_qkv.weight_stored"
    ]
    assert TensorProto.FLOAT16 not in kinds.values()  # or its rounding would be in every row
    assert max(np.prod(t.dims) for t in graph.graph.initializer if t.data_type == TensorProto.FLOAT) >= LEAST_VALUES


@pytest.mark.slow
def test_a_group_that_matches_nothing_costs_nothing() -> None:
    """The negative control: what is measured is the group's, not the measurement's own noise."""
    unit = dataclasses.replace(UNITS[0], paths=re.compile("nowhere"))
    floats = subject().floats
    graph = subject()._graph("extractor", alone(PLANS["w8a8"], "w8a8", unit))
    cost = subject()._cost("none", "w8a8", {**floats, "extractor": graph})
    assert cost.saved == 0
    assert max(cost.cold_first.max, cost.cold_last.max, cost.tracked.max) < 1e-3
    assert cost.tracked.max < 0.1 * float(np.median([c.tracked.max for c in costs("w8").values()]))


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        run(["sensitivity", *arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheme", "w8", "--calib", "x.mp4"], "w8 needs no calibration"),
        (["--out", "there.json/below.json"], "cannot write there.json/below.json"),
        (["--out", "there.json"], "there.json exists already"),
        (["-c", "nowhere.pth"], "no checkpoint file 'nowhere.pth'"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.json").write_text("{}")
    assert command(*arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and message in said.err
    assert [p.name for p in tmp_path.iterdir()] == ["there.json"]


@pytest.mark.slow
def test_the_table_and_the_file_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qlot.export.sensitivity.run.prepare", lambda *_: subject())
    monkeypatch.setenv("COLUMNS", "100")
    out = tmp_path / "costs.json"
    assert command("--scheme", "w8", "-o", str(out)) == 0
    said, written = capsys.readouterr().out, json.loads(out.read_text())
    assert written["calibration"] is None and written["engine"].startswith("onnxruntime")
    assert [c["unit"] for c in written["costs"]] == list(costs("w8"))
    for cost in written["costs"]:
        row = next(line for line in said.splitlines() if line.startswith(f"{cost['unit']} "))
        assert f"{cost['tracked']['median']:.3f} / {cost['tracked']['max']:.2f}" in row
