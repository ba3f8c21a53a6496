"""Core ML's multifunction package: the stages' own programs, bit for bit, each a function, and weights stored once."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlot.export.errors import TargetError
from qlot.export.graphs.schemes import plan_for
from qlot.export.targets.base import Graph, Packed
from qlot.runtime.bundle.folder import Bundle, check_paths
from qlot.runtime.bundle.manifest import Scheme, StageSpec
from qlot.runtime.errors import IntegrityError, SessionError
from qlot.runtime.network.replay import replay
from qlot.runtime.network.sessions import open_stage
from qlot.runtime.network.sessions.coreml import CoreMLSession, load
from tests.export import small

pytest.importorskip("coremltools", reason="needs the extra coreml")

from qlot.export.targets.coreml import convert as coreml
from qlot.export.targets.coreml import multifunction
from qlot.mil import load as load_program
from qlot.mil.package import read_spec
from tests.export.coreml_graphs import MODEL, STAGES, WEIGHTS, feeds, traced

pytestmark = pytest.mark.filterwarnings("ignore")  # the converter's own, by the dozen

SCHEMES: tuple[Scheme, ...] = ("fp32", "w8a8")  # the least and the most that may get lost in a merger


@functools.cache
def graph(name: str, scheme: Scheme) -> Graph:
    plan, exported = plan_for("coreml", scheme), traced(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coreml, "trace", lambda _: exported)
        recorded = feeds(name) if plan.calibrated else None
        return coreml.convert(small.stage("dense", name), plan, recorded, 18)


@functools.cache
def packed(scheme: Scheme) -> Packed:
    stages = [small.stage("dense", name) for name in STAGES]
    return multifunction.pack(stages, {s.name: graph(s.name, scheme) for s in stages})


def session(graph: Graph, name: str, function: str | None) -> CoreMLSession:
    s = small.stage("dense", name)
    spec = StageSpec(
        file="", function=function, iterations=s.iterations, inputs=s.inputs, outputs=s.outputs, macs=0, ops={}
    )
    return load(graph.files, spec, name, 1)


def written(graph: Graph, folder: Path) -> Path:
    for inside, data in graph.files.items():
        path = folder / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_function_computes_what_the_stages_own_package_does(scheme: Scheme) -> None:
    for name, whole in packed(scheme).graphs.items():
        alone = graph(name, scheme)
        assert whole == dataclasses.replace(alone, files=whole.files, function=name)
        inputs = small.feeds_of(small.stage("dense", name))
        found = session(whole, name, name).run(inputs)
        for key, value in session(alone, name, None).run(inputs).items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_asks_for_the_system_that_opens_functions(scheme: Scheme, tmp_path: Path) -> None:
    for part in (packed(scheme).graphs["refiner"], graph("refiner", scheme)):
        spec, _ = read_spec(written(part, tmp_path / str(part.function)))
        assert spec.specificationVersion == 9  # iOS 18, macOS 15; 8 is iOS 17
        assert {f.opset for f in spec.mlProgram.functions.values()} == {"CoreML8"}


def test_every_function_has_its_texts_and_the_package_those_of_all(tmp_path: Path) -> None:
    spec, _ = read_spec(written(packed("fp32").graphs["refiner"], tmp_path / "model"))
    description = spec.description
    assert [f.name for f in description.functions] == list(STAGES)
    assert description.defaultFunctionName == "extractor"
    for function in description.functions:
        stage = small.stage("dense", function.name)
        texts = {f.name: f.shortDescription for f in (*function.input, *function.output)}
        assert texts.keys() == {t.name for t in (*stage.inputs, *stage.outputs)}
        assert all(t.meaning in texts[t.name] and t.unit in texts[t.name] for t in (*stage.inputs, *stage.outputs))
    assert all(name in description.metadata.shortDescription for name in STAGES)
    assert description.metadata.author and description.metadata.versionString


def test_equal_weights_of_two_functions_are_stored_once() -> None:
    stages = [small.stage("dense", "refiner"), dataclasses.replace(small.stage("dense", "refiner"), name="extractor")]
    both = multifunction.pack(stages, {s.name: graph("refiner", "fp32") for s in stages})
    assert len(both.graphs["refiner"].files[WEIGHTS]) <= len(graph("refiner", "fp32").files[WEIGHTS])


def test_the_same_stages_are_the_same_bytes_and_nothing_of_this_machine_ships() -> None:
    stages = [small.stage("dense", name) for name in STAGES]
    again = multifunction.pack(stages, {s.name: graph(s.name, "fp32") for s in stages})
    files = packed("fp32").graphs["refiner"].files
    assert again.graphs["refiner"].files == files
    check_paths(f"model.mlpackage/{path}" for path in files)
    for mark in (b"/root", b"/home", b"/tmp", b"site-packages", b".py", b"conversion_date"):
        assert mark not in b"".join(files.values()), mark


def test_a_missing_function_is_named_with_those_there_are(tmp_path: Path) -> None:
    whole = packed("fp32").graphs["refiner"]
    with pytest.raises(SessionError, match=r"refiner: .* has no function 'refine'; there are: extractor, refiner"):
        session(whole, "refiner", "refine")
    with pytest.raises(SessionError, match="refiner: input 'context' is missing in the package"):
        session(whole, "refiner", None)  # the package's own choice is the extractor
    path = written(whole, tmp_path / "model.mlpackage")
    assert set(load_program(path, "refiner").functions) == set(STAGES)


def test_a_package_without_one_of_its_functions_is_refused_by_hash_and_by_name(tmp_path: Path) -> None:
    whole = packed("fp32").graphs["refiner"]
    spec: Any = read_spec(written(whole, tmp_path / "whole"))[0]
    del spec.mlProgram.functions["refiner"]
    less = spec.SerializeToString(deterministic=True)
    folder = small.write_bundle(tmp_path / "bundle", packed("fp32").graphs, target="coreml")
    (folder / "model.mlpackage" / MODEL).write_bytes(less)
    with pytest.raises(IntegrityError, match=r"model\.mlmodel' has \d+ bytes, the manifest says"):
        Bundle.open(folder)
    files = {**whole.files, MODEL: less}
    graphs = {name: dataclasses.replace(g, files=files) for name, g in packed("fp32").graphs.items()}
    forged = Bundle.open(small.write_bundle(tmp_path / "forged", graphs, target="coreml"))
    open_stage(forged, "extractor")
    with pytest.raises(SessionError, match=r"refiner: .* has no function 'refiner'; there are: extractor"):
        open_stage(forged, "refiner")


def test_packages_that_cannot_be_merged_are_refused() -> None:
    stages = [small.stage("dense", name) for name in STAGES]
    broken = {name: graph(name, "fp32") for name in STAGES}
    files = {path: data for path, data in broken["refiner"].files.items() if path != WEIGHTS}
    broken["refiner"] = dataclasses.replace(broken["refiner"], files=files)
    with pytest.raises(TargetError, match="coremltools failed to merge the packages"):
        multifunction.pack(stages, broken)  # type: ignore[arg-type]


def test_a_bundle_of_one_package_replays(tmp_path: Path) -> None:
    bundle = Bundle.open(small.write_bundle(tmp_path / "bundle", packed("fp32").graphs, target="coreml"))
    assert {(s.file, s.function) for s in bundle.manifest.stages.values()} == {
        ("model.mlpackage", "extractor"),
        ("model.mlpackage", "refiner"),
    }
    report = replay(bundle)
    report.check()
    assert report.max_px < 1e-3


@pytest.mark.slow
def test_an_unrolled_refiner_adds_no_weights() -> None:
    names = (*STAGES, "refiner_unrolled")
    stages = [small.stage("dense", name) for name in names]
    graphs = {s.name: coreml.convert(s, plan_for("coreml", "fp32"), None, 18) for s in stages}
    three = multifunction.pack(stages, graphs).graphs["refiner"].files[WEIGHTS]
    two = packed("fp32").graphs["refiner"].files[WEIGHTS]
    assert len(two) <= len(three) < 1.02 * len(two)
