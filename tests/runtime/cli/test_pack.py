"""`qlot pack`: the same bundle in the place where a platform looks, with the licences, or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.cli.pack import README
from qlot.runtime.cli.platforms import PLATFORMS
from qlot.runtime.legal import LEGAL, legal_text
from tests.runtime.bundles import edit_manifest, rehash, write_bundle
from tests.runtime.cli.running import qlot

PLACES = {"android": "src/main/assets/qlot/face", "swift": "Resources/face", "web": "public/qlot/face"}


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("packed") / "face")


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_copy_is_the_bundle_and_licences_lie_beside(
    platform: str, face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "app"
    assert qlot("pack", face, "--as", platform, "-o", out) == 0
    copy = out / PLACES[platform]
    assert f"packed: {copy}" in capsys.readouterr().out
    assert files(copy) == files(face)
    assert Bundle.open(copy).manifest == Bundle.open(face).manifest
    assert {p.name for p in out.iterdir() if p.is_file()} == {README, *LEGAL}
    for name in LEGAL:
        assert (out / name).read_text(encoding="utf-8") == legal_text(name)
    text = (out / README).read_text(encoding="utf-8")
    assert "not run here" in text and "NAME" not in text and "face" in text and "Apache-2.0" in text
    assert [p.name for p in out.parent.iterdir()] == ["app"]  # nothing temporary is left


def test_the_pinned_engines() -> None:
    for platform, target, line in (
        ("android", "onnx", 'implementation("com.microsoft.onnxruntime:onnxruntime-android:1.29.0")'),
        ("android", "tflite", 'implementation("com.google.ai.edge.litert:litert:2.3.0")'),
        ("web", "onnx", "npm install onnxruntime-web@1.30.0"),
        ("web", "tflite", "npm install @litertjs/core@2.5.3"),
    ):
        assert line in PLATFORMS[platform].words[target]  # type: ignore[index]
    for layout in PLATFORMS.values():
        assert {*layout.words, *layout.refused} == {"onnx", "tflite", "coreml"}
        assert not {*layout.words} & {*layout.refused}


def test_a_bundles_own_notices_are_the_ones(face: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(face, tmp_path / "own")
    (folder / "NOTICE").write_text("weights of somebody else")
    rehash(folder)
    assert qlot("pack", folder, "--as", "web", "-o", tmp_path / "site") == 0
    assert (tmp_path / "site" / "NOTICE").read_text() == "weights of somebody else"


def as_coreml(face: Path, folder: Path) -> Path:
    """The small bundle in the form that Core ML's has: each graph a folder. Packing opens no graph."""
    shutil.copytree(face, folder)
    for stage in ("extractor", "refiner"):
        inside = folder / f"{stage}.mlpackage" / "Data"
        inside.mkdir(parents=True)
        (folder / f"{stage}.onnx").rename(inside / "model.mlmodel")

    def change(manifest: dict) -> None:  # type: ignore[type-arg]
        manifest["target"] = "coreml"
        for name, stage in manifest["stages"].items():
            stage["file"] = f"{name}.mlpackage"

    edit_manifest(folder, change)
    rehash(folder)
    Bundle.open(folder)
    return folder


def test_core_ml_is_for_apple_alone_and_its_packages_stay_whole(
    face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = as_coreml(face, tmp_path / "apple")
    for platform in ("android", "web"):
        assert qlot("pack", folder, "--as", platform, "-o", tmp_path / "out") == 2
        said = capsys.readouterr().err
        assert f"target coreml is not for {platform}: Core ML runs on Apple's systems alone" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert qlot("pack", folder, "--as", "swift", "-o", tmp_path / "out") == 0
    assert (tmp_path / "out/Resources/apple/extractor.mlpackage/Data/model.mlmodel").is_file()


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert qlot("pack", *arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


def test_what_is_there_is_replaced_on_request_and_only_what_was_packed(
    face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "app"
    assert qlot("pack", face, "--as", "web", "-o", out) == 0
    capsys.readouterr()
    assert "exists already" in refused(capsys, face, "--as", "web", "-o", out)
    (out / README).write_text("scribbled")
    assert qlot("pack", face, "--as", "web", "-o", out, "--force") == 0
    assert "scribbled" not in (out / README).read_text()
    capsys.readouterr()
    (out / "public" / "index.html").write_text("mine")
    before = files(out)
    said = refused(capsys, face, "--as", "web", "-o", out, "--force")
    assert "holds more than a packed bundle (public/index.html)" in said
    assert files(out) == before
    assert "holds more" in refused(capsys, face, "--as", "android", "-o", out, "--force")  # of another platform
    assert [p.name for p in tmp_path.iterdir()] == ["app"]


def test_a_damaged_bundle_a_bad_name_and_a_place_inside_are_refused(
    face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = shutil.copytree(face, tmp_path / "bad")
    graph = bad / "refiner.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    assert "another SHA-256" in refused(capsys, bad, "--as", "web", "-o", tmp_path / "out")
    odd = shutil.copytree(face, tmp_path / "_face")
    assert "rename it" in refused(capsys, odd, "--as", "web", "-o", tmp_path / "out")
    assert "lies in the bundle" in refused(capsys, face, "--as", "web", "-o", face / "out")
    assert not (tmp_path / "out").exists() and not (face / "out").exists()
