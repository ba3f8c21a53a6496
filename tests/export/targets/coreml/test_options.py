"""`--min-ios` and `--image-input`: what they change, and where they are refused."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlot.cli.main import run_export
from qlot.export import all_targets as matrix
from qlot.export.all_targets import Outcome
from qlot.export.errors import ExportError, SchemeError, TargetError
from qlot.export.graphs.schemes import plan_for
from qlot.export.graphs.stages import Stage
from qlot.export.options import DEFAULTS, TargetOptions
from qlot.export.pipeline import ExportRequest, export
from qlot.export.targets import load_target
from qlot.export.targets.base import Graph
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import StageSpec
from qlot.runtime.errors import ManifestError, ParityError, SessionError
from qlot.runtime.network.pixels import to_bytes
from qlot.runtime.network.replay import replay
from qlot.runtime.network.sessions.coreml import load
from qlot.runtime.progress import Progress
from tests.export import small

pytestmark = pytest.mark.filterwarnings("ignore")  # the converter's own, by the dozen

IMAGE, IOS18 = TargetOptions(image_input=True), TargetOptions(min_ios=18)


def coreml() -> Any:
    pytest.importorskip("coremltools", reason="needs the extra coreml")
    from qlot.export.targets.coreml import convert as coreml

    return coreml


def of_image() -> Stage:
    (stage,) = load_target("coreml", IMAGE).declare([small.stage("dense", "extractor")])
    return stage


@functools.cache
def graph(options: TargetOptions) -> Graph:
    target = load_target("coreml", options)
    (stage,) = target.declare([small.stage("dense", "extractor")])
    return target.convert(stage, plan_for("coreml", "w8"), None)


def description(converted: Graph) -> Any:
    from qlot.mil._coremltools import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString(converted.files["Data/com.apple.CoreML/model.mlmodel"])
    return spec


def session(converted: Graph, stage: Stage) -> Any:
    spec = StageSpec(file="", iterations=0, inputs=stage.inputs, outputs=stage.outputs, macs=0, ops={})
    return load(converted.files, spec, stage.name, 1)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [IMAGE, IOS18, TargetOptions(min_ios=17)])
@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_options_of_core_ml_are_no_other_targets(options: TargetOptions, target: str) -> None:
    with pytest.raises(TargetError, match=f"--min-ios and --image-input are for target coreml, not {target}"):
        load_target(target, options)


def test_int4_blocks_need_ios_18_and_do_not_set_it() -> None:
    coreml()
    with pytest.raises(SchemeError, match=r"w4 needs iOS 18, .*add --min-ios 18, or choose w8"):
        load_target("coreml").plan(plan_for("coreml", "w4"))
    for options, scheme in ((IOS18, "w4"), (DEFAULTS, "palette4")):
        assert load_target("coreml", options).plan(plan_for("coreml", scheme)) == plan_for("coreml", scheme)


@pytest.mark.parametrize("scheme", ["palette6", "palette4", "w4"])
@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_experimental_schemes_name_the_nearest_one(scheme: str, target: Any) -> None:
    with pytest.raises(SchemeError, match=f"{scheme} is experimental and for target coreml alone.*the nearest is w8"):
        plan_for(target, scheme)


def test_an_export_refuses_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--min-ios"):
        export(ExportRequest("onnx", options=IOS18, out=tmp_path / "new"))
    with pytest.raises(SchemeError, match="the nearest is w8"):
        export(ExportRequest("onnx", "palette6", out=tmp_path / "new"))
    assert list(tmp_path.iterdir()) == []


def test_with_all_targets_core_ml_alone_gets_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    requests: list[ExportRequest] = []

    def apart(request: ExportRequest, _: Progress) -> Outcome:
        requests.append(request)
        return Outcome(request.target, None, "rain")

    monkeypatch.setattr(matrix, "export_apart", apart)
    with pytest.raises(SystemExit):
        run_export(["--target", "all", "--min-ios", "18", "--image-input", "--out", str(tmp_path / "o")])
    assert {r.target: r.options for r in requests} == {
        "onnx": DEFAULTS,
        "tflite": DEFAULTS,
        "coreml": TargetOptions(None, 18, True),
    }


def test_bytes_of_a_target_that_has_no_images_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("coremltools", reason="needs the extra coreml")
    folder = small.write_bundle(
        tmp_path / "b", {n: small.graph("windowed", n) for n in ("extractor", "refiner")}, target="onnx"
    )
    _as_image(folder)
    with pytest.raises(ManifestError, match=r"'image' is uint8 .*wanted float32"):
        Bundle.open(folder)


def test_rounding_is_to_the_nearest_byte() -> None:
    values = np.float32([-0.1, 0, 0.5 / 255, 0.6 / 255, 1.5 / 255, 1, 1.1])
    np.testing.assert_array_equal(to_bytes(values), [0, 0, 0, 1, 2, 255, 255])
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_bytes(every.astype(np.float32) / np.float32(255)), every)  # a replay's crops


# --- what they change ----------------------------------------------------------------------------------------------


def test_the_oldest_ios_is_in_the_package_and_compressions_follow_it() -> None:
    coreml()
    old, new = graph(DEFAULTS), graph(IOS18)
    assert (description(old).specificationVersion, description(new).specificationVersion) == (8, 9)
    stage = small.stage("dense", "extractor")
    feeds = small.feeds_of(stage)
    found, wanted = (session(g, stage).run(feeds) for g in (new, old))
    for key, value in wanted.items():  # the same weights, stored otherwise
        np.testing.assert_allclose(found[key], value, atol=1e-4 * np.abs(value).max(), err_msg=key)


def test_an_image_is_bytes_scaled_by_the_program() -> None:
    coreml()
    image = description(graph(IMAGE)).description.input[0]
    size = small.SMALL.image_size
    assert image.type.WhichOneof("Type") == "imageType"
    picture = image.type.imageType
    assert (picture.width, picture.height, picture.ColorSpace.Name(picture.colorSpace)) == (size, size, "RGB")
    assert "Core ML image" in image.shortDescription
    pixels = to_bytes(small.feeds_of(small.stage("dense", "extractor"))["image"])
    found = session(graph(IMAGE), of_image()).run({"image": pixels})
    tensor = {"image": pixels.astype(np.float32) / np.float32(255)}
    wanted = session(graph(DEFAULTS), small.stage("dense", "extractor")).run(tensor)
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, atol=1e-5 * np.abs(value).max(), err_msg=key)
    swapped = session(graph(IMAGE), of_image()).run({"image": np.ascontiguousarray(pixels[:, ::-1])})
    assert np.abs(swapped["map_0"] - wanted["map_0"]).max() > 1e-2  # the order of colours is felt


def test_an_image_where_the_manifest_says_tensor_is_refused_and_the_other_way_round() -> None:
    coreml()
    with pytest.raises(SessionError, match=r"'image' is uint8 .* in the package, float32"):
        session(graph(IMAGE), small.stage("dense", "extractor"))
    with pytest.raises(SessionError, match=r"'image' is float32 .* in the package, uint8"):
        session(graph(DEFAULTS), of_image())


def test_recorded_inputs_are_given_as_the_stage_takes_them() -> None:
    feeds = small.feeds_of(small.stage("dense", "extractor"))
    taken = coreml().as_taken(of_image(), feeds)
    assert taken["image"].dtype == np.uint8
    np.testing.assert_allclose(taken["image"] / 255, feeds["image"], atol=0.5001 / 255)
    assert coreml().as_taken(small.stage("dense", "extractor"), feeds)["image"] is feeds["image"]


def test_a_bundle_that_takes_images_replays_and_a_wrong_scale_does_not(tmp_path: Path) -> None:
    coreml()  # skips without the extra
    target = load_target("coreml", IMAGE)
    plan = plan_for("coreml", "fp32")
    refiner = target.convert(small.stage("dense", "refiner"), plan, None)
    good = target.convert(of_image(), plan, None)
    folder = small.write_bundle(tmp_path / "good", {"extractor": good, "refiner": refiner}, target="coreml")
    _as_image(folder)
    bundle = Bundle.open(folder)
    assert bundle.manifest.stages["extractor"].inputs[0].unit == "[0, 255]"
    report = replay(bundle)
    report.check()
    assert report.max_px < 1e-3
    model = "Data/com.apple.CoreML/model.mlmodel"
    scale = np.float32(1 / 255).tobytes()
    assert good.files[model].count(scale) == 1
    files = {**good.files, model: good.files[model].replace(scale, np.float32(1 / 128).tobytes())}
    broken = Graph(good.data, good.suffix, good.macs, good.ops, files)
    folder = small.write_bundle(tmp_path / "broken", {"extractor": broken, "refiner": refiner}, target="coreml")
    _as_image(folder)
    with pytest.raises(ParityError):
        replay(Bundle.open(folder)).check()


def test_one_package_of_both_functions_takes_images_too(tmp_path: Path) -> None:
    coreml()
    stages, plan = [of_image(), small.stage("dense", "refiner")], plan_for("coreml", "fp32")
    target = load_target("coreml", TargetOptions("multifunction", 18, True))
    packed = target.pack(stages, {s.name: target.convert(s, plan, None) for s in stages})
    folder = small.write_bundle(tmp_path / "bundle", packed.graphs, target="coreml")
    _as_image(folder)
    report = replay(Bundle.open(folder))
    report.check()
    assert report.max_px < 1e-3


def _as_image(folder: Path) -> None:
    """Let a bundle's manifest declare the extractor's picture as the pipeline does for images."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["stages"]["extractor"]["inputs"] = [t.model_dump() for t in of_image().inputs]
    path.write_text(json.dumps(manifest))
