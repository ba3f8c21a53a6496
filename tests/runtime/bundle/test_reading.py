"""Graphs that are folders of files, which Core ML has and other targets do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.parsing import parse_manifest
from qlot.runtime.errors import IntegrityError, ManifestError, UnsafePathError
from qlot.runtime.network import sessions as module
from qlot.runtime.network.sessions import open_stage
from tests.runtime.bundles import edit_manifest, rehash, write_bundle

STAGES = ("extractor", "refiner")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a bundle for target coreml whose graphs are folders; what is in them no engine knows."""
    folder = write_bundle(tmp_path / "bundle", golden=False)
    for stage in STAGES:
        (folder / f"{stage}.onnx").unlink()
        data = folder / f"{stage}.mlpackage" / "Data"
        data.mkdir(parents=True)
        (data.parent / "Manifest.json").write_text(stage)
        (data / "weight.bin").write_bytes(b"weights of the " + stage.encode())

    def change(manifest: dict[str, Any]) -> None:
        manifest["target"] = "coreml"
        for stage in STAGES:
            manifest["stages"][stage]["file"] = f"{stage}.mlpackage"

    edit_manifest(folder, change)
    rehash(folder)
    return folder


def test_a_session_gets_the_files_of_its_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_session", lambda *args: args)
    target, files, spec, name, threads = open_stage(Bundle.open(folder), "refiner", 2)  # type: ignore[misc]
    assert (target, spec.file, name, threads) == ("coreml", "refiner.mlpackage", "refiner", 2)
    assert files == {"Manifest.json": b"refiner", "Data/weight.bin": b"weights of the refiner"}


def test_what_changes_in_a_folder_after_opening_is_not_used(folder: Path) -> None:
    bundle, path = Bundle.open(folder), folder / "refiner.mlpackage" / "Data" / "weight.bin"
    path.write_bytes(path.read_bytes().upper())
    with pytest.raises(IntegrityError, match=r"weight\.bin' has another SHA-256"):
        open_stage(bundle, "refiner")
    path.unlink()
    path.symlink_to("Manifest.json")
    with pytest.raises(UnsafePathError):
        open_stage(bundle, "refiner")


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_other_targets_have_one_file(folder: Path, target: str) -> None:
    edit_manifest(folder, lambda m: m.update(target=target))
    with pytest.raises(ManifestError, match=r"not listed under files: extractor\.mlpackage, refiner\.mlpackage"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "file", ["refiner.mlpackage/Data/weight.bin", "refiner", "refiner.mlpackage/", "", ".", "..", "/", "extractor"]
)
def test_a_folder_holds_at_least_one_listed_file(folder: Path, file: str) -> None:
    edit_manifest(folder, lambda m: m["stages"]["refiner"].update(file=file))
    with pytest.raises(ManifestError, match="not listed under files"):
        parse_manifest((folder / "manifest.json").read_bytes())


def test_the_golden_index_is_a_file_on_every_target(folder: Path) -> None:
    golden = {
        "included": True, "index": "refiner.mlpackage", "frames": 1, "tolerance": {"px": 1.0, "log_sigma": 1.0}
    }  # fmt: skip
    edit_manifest(folder, lambda m: m.update(golden=golden))
    with pytest.raises(ManifestError, match=r"not listed under files: refiner\.mlpackage"):
        parse_manifest((folder / "manifest.json").read_bytes())
