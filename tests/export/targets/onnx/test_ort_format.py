"""ORT format: the same numbers from the same session, for no machine in particular, and the list of its operators."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnxruntime.tools.reduced_build_config_parser import parse_config

from qlot.export.errors import TargetError
from qlot.export.targets.base import Packed
from qlot.export.targets.onnx import ort_format as onnx_ort
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Scheme, StageSpec
from qlot.runtime.errors import IntegrityError, SessionError
from qlot.runtime.network.replay import replay
from qlot.runtime.network.sessions import onnx as engine
from qlot.runtime.network.sessions import open_stage
from tests.export import small
from tests.export.modules import SOURCE_FILE

STAGES = ("extractor", "refiner")
SCHEMES: tuple[Scheme, ...] = ("fp32", "w8a8")


@functools.cache
def packed(scheme: Scheme) -> Packed:
    stages = [small.stage("windowed", name) for name in STAGES]
    return onnx_ort.pack(stages, {s.name: small.graph("windowed", s.name, scheme) for s in stages})


def session(data: bytes, name: str) -> engine.OnnxSession:
    s = small.stage("windowed", name)
    spec = StageSpec(file="", iterations=s.iterations, inputs=s.inputs, outputs=s.outputs, macs=0, ops={})
    return engine.OnnxSession(data, spec, name)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_computes_what_the_onnx_graph_does(scheme: Scheme) -> None:
    for name, graph in packed(scheme).graphs.items():
        before = small.graph("windowed", name, scheme)
        assert (graph.suffix, graph.macs, graph.data[4:8]) == (".ort", before.macs, engine.ORT_FORMAT)
        feeds = small.feeds_of(small.stage("windowed", name))
        found = session(graph.data, name).run(feeds)
        for key, value in session(before.data, name).run(feeds).items():
            # Here ONNX Runtime lays out float weights for this processor, which rounds otherwise; ORT format must not.
            np.testing.assert_allclose(found[key], value, atol=1e-5 * max(1, np.abs(value).max()), err_msg=key)


def test_int8_stays_int8() -> None:
    ops = packed("w8a8").graphs["extractor"].ops
    assert ops["QLinearConv"] > 20
    assert "QLinearConv" not in packed("fp32").graphs["extractor"].ops


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("types", [False, True])
def test_the_list_names_the_operators_of_all_graphs_in_the_form_that_the_build_reads(
    scheme: Scheme, types: bool, tmp_path: Path
) -> None:
    path = tmp_path / onnx_ort.OPERATORS
    path.write_bytes(packed(scheme).extra[onnx_ort.OPERATORS])
    required, by_type = parse_config(str(path), types)
    listed = {op for opsets in required.values() for ops in opsets.values() for op in ops}
    assert listed == {op for graph in packed(scheme).graphs.values() for op in graph.ops}
    assert (by_type is not None) == types


def test_nothing_of_this_machine_ships() -> None:
    whole = b"".join([*packed("w8a8").extra.values(), *(g.data for g in packed("w8a8").graphs.values())])
    for mark in (b"/root", b"/home", b"/tmp", b"site-packages"):
        assert mark not in whole, mark
    assert not SOURCE_FILE.search(whole)
    assert b"# - refiner.ort\n" in whole


def test_a_graph_laid_out_for_this_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: what the same converter makes for desktops."""
    monkeypatch.setattr(onnx_ort, "PLATFORM", "amd64")
    stage = small.stage("windowed", "extractor")
    with pytest.raises(TargetError, match="the extractor in ORT format is laid out for this machine's processor"):
        onnx_ort.pack([stage], {stage.name: small.graph("windowed", stage.name)})


def test_what_the_converter_refuses_is_one_error() -> None:
    stage = small.stage("windowed", "refiner")
    broken = dataclasses.replace(small.graph("windowed", "refiner"), data=b"no such thing")
    with pytest.raises(TargetError, match="ONNX Runtime's converter to ORT format failed: "):
        onnx_ort.pack([stage], {stage.name: broken})


def bundle(folder: Path, **data: bytes) -> Path:
    graphs = {n: dataclasses.replace(g, data=data.get(n, g.data)) for n, g in packed("fp32").graphs.items()}
    return small.write_bundle(folder, graphs, extra=packed("fp32").extra)


def test_a_bundle_replays_and_lists_the_operators(tmp_path: Path) -> None:
    opened = Bundle.open(bundle(tmp_path / "bundle"))
    assert opened.manifest.stages["refiner"].file == "refiner.ort"
    assert opened.read("required_operators.config") == packed("fp32").extra[onnx_ort.OPERATORS]
    report = replay(opened)
    report.check()
    assert report.max_px < 1e-3
    (opened.path / "required_operators.config").unlink()
    with pytest.raises(IntegrityError, match=r"required_operators\.config' is listed in the manifest but missing"):
        Bundle.open(opened.path)


def test_another_stages_graph_is_refused(tmp_path: Path) -> None:
    mixed = Bundle.open(bundle(tmp_path / "bundle", refiner=packed("fp32").graphs["extractor"].data))
    with pytest.raises(SessionError, match="refiner: input 'context' is missing in the graph"):
        open_stage(mixed, "refiner")


def test_a_damaged_file_is_refused_without_a_crash(tmp_path: Path) -> None:
    """In a process of its own: what an engine would do with bad offsets is to end it."""
    path = tmp_path / "refiner.ort"
    path.write_bytes(packed("fp32").graphs["refiner"].data)
    script = f"""
from pathlib import Path
from qlot.runtime.errors import SessionError
from qlot.runtime.bundle.manifest import StageSpec
from qlot.runtime.network.sessions.onnx import OnnxSession
data = Path({str(path)!r}).read_bytes()
spec = StageSpec(file="", iterations=1, inputs=(), outputs=(), macs=0, ops={{}})
refused = 0
for cut in range(8, len(data), len(data) // 40):
    for damaged in (data[:cut], data[:cut] + bytes(64) + data[cut + 64:], data[:cut] + b"\\xff" * 8 + data[cut + 8:]):
        try:
            OnnxSession(damaged, spec, "refiner")
        except SessionError:
            refused += 1
print(refused)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) >= 40
