"""The page stands alone, says what it must, and goes only where it may."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from qlot.export.errors import ExportError
from qlot.export.graphs.schemes import PLANS
from qlot.export.parity.levels import Levels, measure_levels
from qlot.export.report.drawing import curves, face
from qlot.export.report.latency import HostLatency, measure_latency
from qlot.export.report.page import Findings, check_place, render, write_page
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import LayoutSpec, Target
from qlot.runtime.html import element
from qlot.runtime.network.bundle_network import BundleNetwork
from tests.export import small
from tests.export.graph_surgery import graphs
from tests.export.reference import recorded


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    bundle = Bundle.open(small.write_bundle(tmp_path_factory.mktemp("page") / "good", graphs()))
    reference = recorded()
    levels = measure_levels(bundle, BundleNetwork(bundle), reference, small.stages("windowed"), PLANS["fp32"])
    return Findings("good", bundle.manifest, levels, measure_latency(BundleNetwork(bundle), reference.run))


def test_it_refers_to_nothing_and_runs_nothing(findings: Findings) -> None:
    page = render(findings)
    assert page.startswith("<!doctype html>")
    for forbidden in ("<script", "http", "src=", "href=", "url(", "@import"):
        assert forbidden not in page
    assert "prefers-color-scheme:dark" in page
    assert 'name="viewport"' in page


def test_it_says_what_ran_what_is_allowed_and_what_is_only_the_host(findings: Findings) -> None:
    page = render(findings)
    for part in (
        "onnxruntime", "HOST, not a phone", "extractor.onnx", "≤ 0.02 px", "≥ 90 dB", "± 3 %", "jaw", "GatherElements",
        "still, noisy", "nothing of labels", "there are no partitions",
    ):  # fmt: skip
        assert part in page, part
    assert page.count("<polyline") == 3
    circles = page.count("<circle")
    assert circles >= len(small.layout())
    assert "FAILED" not in page


def test_a_failure_is_on_it(findings: Findings) -> None:
    levels: Levels = dataclasses.replace(
        findings.levels, task=dataclasses.replace(findings.levels.task, flicker=float("nan"))
    )
    assert "FAILED" in render(dataclasses.replace(findings, levels=levels))


def test_names_are_text_never_markup(findings: Findings) -> None:
    page = render(dataclasses.replace(findings, name="<script>alert(1)</script>"))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("target", get_args(Target))
def test_partitions_are_told_by_target(findings: Findings, target: Target) -> None:
    manifest = findings.manifest
    ops = {"CONV_2D": 3, "DELEGATE": 2, "outside DELEGATE: GATHER": 1}
    stages = {n: s.model_copy(update={"ops": ops}) for n, s in manifest.stages.items()}
    page = render(
        dataclasses.replace(findings, manifest=manifest.model_copy(update={"target": target, "stages": stages}))
    )
    told = {
        "onnx": "no partitions",
        "tflite": "refiner: 2 XNNPACK partition(s), outside: GATHER 1",
        "coreml": "on the device",
    }
    assert told[target] in page
    assert "3 operators: CONV_2D 3" in page


def test_curves_draw_what_float_cannot_tell_apart_and_what_is_infinite() -> None:
    drawn = curves({"max": np.array([0.0, np.inf, 1e-3])}, {"allowed": 0.02}, "frame", "px")
    points = next(e.get("points", "") for e in drawn if e.tag == "polyline")
    assert len(re.findall(r"[\d.]+,[\d.]+", points)) == 3
    assert "nan" not in points


def test_the_worst_landmark_is_the_darkest() -> None:
    spec = small.layout()
    values = np.linspace(0, 1, len(spec))
    drawn = face(LayoutSpec.model_validate(spec.spec()), values, "px")
    dots = [e for e in drawn if e.tag == "circle" and len(e)]
    opacity = {e[0].text: float(e.get("fill-opacity", "")) for e in dots}
    assert opacity[f"{spec.names[-1]}: 1 px"] == 1
    assert opacity[f"{spec.names[0]}: 0 px"] == min(opacity.values())


def test_text_and_children_keep_their_order() -> None:
    e = element("p", "a", element("b", "c"), "d", class_="x", fill_opacity=0.5)
    assert (e.text, e[0].tail, e.get("class"), e.get("fill-opacity")) == ("a", "d", "x", "0.5")


def test_latency_is_of_both_stages(findings: Findings) -> None:
    latency: HostLatency = findings.latency
    assert set(latency.stages) == {"extractor", "refiner"}
    assert all(0 < median <= high for median, high in latency.stages.values())
    assert latency.host and "onnxruntime" in latency.engine


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("page.txt", "must be the name of an .html file"),
        ("folder.html", "must be the name of an .html file"),
        ("bundle/page.html", "inside the bundle"),
        ("bundle/golden/page.html", "inside the bundle"),
    ],
)
def test_places_that_are_refused(page: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ExportError, match=message):
        check_place(tmp_path / page, tmp_path / "bundle")
    check_place(tmp_path / "bundle.html", tmp_path / "bundle")


def test_it_is_written_whole_into_new_folders_and_replaces_its_like(findings: Findings, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    write_page(page, findings)
    write_page(page, findings)
    assert [p.name for p in page.parent.iterdir()] == ["page.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot write the report"):
        write_page(tmp_path / "file" / "page.html", findings)
