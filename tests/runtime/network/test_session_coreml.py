from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qlot.runtime.bundle.manifest import StageSpec, TensorSpec
from qlot.runtime.errors import SessionError
from qlot.runtime.extras import pip_line
from qlot.runtime.network.sessions import coreml

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def spec(shape: tuple[int, ...] = (2, 3), output: str = "y", function: str | None = None) -> StageSpec:
    one = TensorSpec(name="x", shape=shape, dtype="float32", meaning="", unit="1")
    two = TensorSpec(name=output, shape=shape, dtype="float32", meaning="", unit="1")
    return StageSpec(
        file="refiner.mlpackage", function=function, iterations=1, inputs=(one,), outputs=(two,), macs=0, ops={}
    )


def of_image() -> StageSpec:
    """A stage that takes an image in place of a tensor."""
    stage = spec()
    image = stage.inputs[0].model_copy(update={"dtype": "uint8", "shape": (1, 3, 2, 4)})
    return stage.model_copy(update={"inputs": (image,)})


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice the input, as a saved package."""
    from tests.mil import build

    model = build.model(lambda x: build.mb.mul(x=x, y=np.float32(2), name="y"), {"x": X})
    return build.save(model, tmp_path_factory.mktemp("session") / "refiner.mlpackage")


@pytest.mark.skipif(sys.platform == "darwin", reason="there Core ML itself runs")
def test_the_interpreter_runs_it_and_says_so(package: Path) -> None:
    session = coreml.CoreMLSession(package, spec(), "refiner", 1)
    assert session.engine == "MIL interpreter (not Apple hardware)"
    assert [t.name for t in session.inputs + session.outputs] == ["x", "y"]
    assert_array_equal(session.run({"x": X})["y"], 2 * X)


def test_from_bytes_it_runs_and_nothing_stays_on_disk(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coreml.tempfile, "tempdir", str(tmp_path))
    files = {p.relative_to(package).as_posix(): p.read_bytes() for p in package.rglob("*") if p.is_file()}
    session = coreml.load(files, spec(), "refiner", 1)
    assert not list(tmp_path.iterdir())
    assert_array_equal(session.run({"x": X})["y"], 2 * X)
    with pytest.raises(SessionError, match=r"no Core ML program: 'Manifest\.json'"):
        coreml.load({"Data/x": b""}, spec(), "refiner", 1)
    assert not list(tmp_path.iterdir())


def test_the_process_keeps_its_thread_setting(package: Path) -> None:
    import torch

    session = coreml.CoreMLSession(package, spec(), "refiner", 3)
    before = torch.get_num_threads()
    session.run({"x": X})
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (spec((2, 4)), r"input 'x' is float32 \(2, 3\) in the package, float32 \(2, 4\) in the manifest"),
        (spec(output="z"), r"output 'y' is float32 \(2, 3\) in the package, missing in the manifest"),
    ],
)
def test_another_interface_is_refused(package: Path, stage: StageSpec, message: str) -> None:
    with pytest.raises(SessionError, match=message):
        coreml.CoreMLSession(package, stage, "refiner", 1)


def test_wrong_feeds_and_threads(package: Path) -> None:
    session = coreml.CoreMLSession(package, spec(), "refiner", 1)
    with pytest.raises(SessionError, match="missing"):
        session.run({})
    with pytest.raises(SessionError, match="float64"):
        session.run({"x": X.astype(np.float64)})
    for threads in (0, 65):
        with pytest.raises(SessionError, match="threads must be 1 to 64"):
            coreml.CoreMLSession(package, spec(), "refiner", threads)


def test_a_package_that_is_none(package: Path, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"refiner: .* no such folder"):
        coreml.CoreMLSession(tmp_path / "refiner.mlpackage", spec(), "refiner", 1)


@pytest.mark.parametrize("missing", ["coremltools", "torch"])
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [n for n in sys.modules if n.startswith("qlot.mil")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [missing, *(n for n in sys.modules if n.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    with pytest.raises(SessionError, match=rf"{re.escape(pip_line('coreml'))} .*{missing}"):
        coreml.CoreMLSession(Path("refiner.mlpackage"), spec(), "refiner", 1)


class FakeCoreML:
    """Stands for coremltools on a Mac: what the session asks of it, after its documentation. No Core ML runs here."""

    class proto:  # noqa: N801
        class FeatureTypes_pb2:  # noqa: N801
            class ArrayFeatureType:
                FLOAT32, FLOAT16, INT32, DOUBLE = 65568, 65552, 131104, 65600

    class ComputeUnit:
        ALL = "all"

    def __init__(self, result: Callable[[dict[str, Any]], dict[str, Any]], colours: str | None) -> None:
        self.result, self.colours = result, colours
        self.models = self

    def MLModel(self, path: str, compute_units: Any, function_name: str | None) -> FakeCoreML:
        self.asked = function_name
        assert path.endswith(".mlpackage")
        assert compute_units == "all"
        return self

    def get_spec(self) -> Any:
        from qlot.mil._coremltools import Model_pb2  # the real messages

        description = Model_pb2.Model().description
        top = description
        if self.asked is not None:  # then nothing stands at the top
            description.functions.add(name="other")
            top = description.functions.add(name=self.asked)
        for features, name in ((top.input, "x"), (top.output, "y")):
            array = features.add(name=name).type.multiArrayType
            array.dataType = 65568
            array.shape.extend([2, 3])
        if self.colours is not None:
            image = top.input[0].type.imageType
            image.width, image.height, image.colorSpace = 4, 2, image.ColorSpace.Value(self.colours)
        return type("Spec", (), {"description": description})

    def predict(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return self.result(feeds)


def on_a_mac(
    monkeypatch: pytest.MonkeyPatch,
    result: Callable[[dict[str, Any]], dict[str, Any]],
    stage: StageSpec | None = None,
    colours: str | None = None,
    function: str | None = None,
) -> coreml.CoreMLSession:
    pytest.importorskip("coremltools", reason="needs the extra coreml")
    fake = {"coremltools": FakeCoreML(result, colours)}
    monkeypatch.setattr(coreml.sys, "platform", "darwin")
    monkeypatch.setattr(coreml, "import_module", lambda name: fake[name] if name in fake else import_module(name))
    return coreml.CoreMLSession(Path("refiner.mlpackage"), stage or spec(function=function), "refiner", 1)


def test_on_a_mac_core_ml_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    session = on_a_mac(monkeypatch, lambda feeds: {"y": feeds["x"] * 3})
    assert session.engine.startswith("Core ML on macOS")
    assert_array_equal(session.run({"x": X})["y"], 3 * X)


def test_on_a_mac_a_function_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    session = on_a_mac(monkeypatch, lambda feeds: {"y": feeds["x"] * 3}, function="refiner")
    assert_array_equal(session.run({"x": X})["y"], 3 * X)


def test_what_core_ml_returns_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    session = on_a_mac(monkeypatch, lambda feeds: {"y": feeds["x"][:1]})
    with pytest.raises(SessionError, match=r"wanted float32 \(2, 3\)"):
        session.run({"x": X})


def test_on_a_mac_an_image_is_handed_over_as_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, 2, 4), np.uint8)
    taken: list[Any] = []

    def result(feeds: dict[str, Any]) -> dict[str, Any]:
        taken.append(feeds["x"])
        return {"y": X}

    session = on_a_mac(monkeypatch, result, of_image(), "RGB")
    session.run({"x": pixels})
    assert (taken[0].mode, taken[0].size) == ("RGB", (4, 2))
    assert_array_equal(np.asarray(taken[0]), pixels[0].transpose(1, 2, 0))
    with pytest.raises(SessionError, match=r"input 'x' is an image in BGR in the package, uint8 \(1, 3, 2, 4\)"):
        on_a_mac(monkeypatch, result, of_image(), "BGR")


def test_a_failure_of_core_ml_names_stage_and_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(feeds: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("out of memory")

    with pytest.raises(SessionError, match=r"refiner: Core ML .* failed: out of memory"):
        on_a_mac(monkeypatch, fail).run({"x": X})
