from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qlot.runtime.bundle.folder import MAX_PATH, Bundle, check_paths
from qlot.runtime.bundle.limits import MAX_JSON_BYTES
from qlot.runtime.errors import BundleError, IntegrityError, ManifestError, QlotError, UnsafePathError
from qlot.runtime.network.sessions import open_stage
from tests.runtime.bundles import FRAMES, edit_manifest, rehash, write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def refused(error: type[QlotError], message: str, folder: Path) -> None:
    with pytest.raises(error, match=message) as caught:
        Bundle.open(folder)
    assert type(caught.value) is error


@pytest.mark.parametrize("lowering", ["windowed", "dense"])
def test_a_good_bundle_opens_and_gives_its_files(tmp_path: Path, lowering: str) -> None:
    bundle = Bundle.open(str(write_bundle(tmp_path / "bundle", lowering=lowering)))
    assert bundle.manifest.lowering == lowering
    for spec in bundle.manifest.files:
        assert bundle.read(spec.path) == bundle.file(spec.path).read_bytes()
    golden = bundle.golden()
    assert golden is not None and len(golden.steps) == FRAMES
    assert open_stage(bundle, "refiner").outputs == bundle.manifest.stages["refiner"].outputs


def test_a_relative_path_and_a_link_to_the_folder_itself_are_fine(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(folder)
    Bundle.open(tmp_path / "latest")
    Bundle.open(os.path.relpath(folder))


def test_what_is_not_a_folder_says_so(tmp_path: Path) -> None:
    refused(BundleError, "does not exist", tmp_path / "nowhere")
    refused(BundleError, "does not exist", tmp_path / "a\x00b")
    archive, file = tmp_path / "bundle.zip", tmp_path / "refiner.onnx"
    archive.touch()
    file.touch()
    refused(BundleError, "unpack it", archive)
    refused(BundleError, "open the folder it lies in", file)
    refused(ManifestError, "has no manifest.json", tmp_path)


def test_a_manifest_has_a_size_limit(folder: Path) -> None:
    with (folder / "manifest.json").open("ab") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    refused(ManifestError, "more than 4 MB", folder)


def test_size_and_hash_are_checked(folder: Path) -> None:
    path = folder / "refiner.onnx"
    good = path.read_bytes()
    path.write_bytes(good + b"x")
    refused(IntegrityError, "'refiner.onnx' has .* bytes", folder)
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused(IntegrityError, "'refiner.onnx' has another SHA-256", folder)
    path.unlink()
    refused(IntegrityError, "'refiner.onnx' is listed in the manifest but missing", folder)
    path.write_bytes(good)
    Bundle.open(folder)


@pytest.mark.parametrize("name", ["extra.onnx", "golden/extra", ".hidden", "é", "golden/.DS_Store.txt"])
def test_unlisted_files_are_refused(folder: Path, name: str) -> None:
    (folder / name).touch()
    refused(IntegrityError, "not in its manifest", folder)


@pytest.mark.parametrize("name", ["empty", "golden/empty", ".DS_Store"])
def test_unlisted_folders_are_refused(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    refused(IntegrityError, "not in its manifest", folder)


def test_the_one_file_that_is_overlooked_is_never_handed_out(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"Finder")
    (folder / "golden" / ".DS_Store").write_bytes(b"Finder")
    with pytest.raises(IntegrityError, match="does not list"):
        Bundle.open(folder).read(".DS_Store")


def test_links_are_refused_at_every_level_and_hard_links_are_not(folder: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", "refiner.onnx", "golden", "golden/data.bin"):
        kept = tmp_path / "kept"
        (folder / name).rename(kept)
        (folder / name).symlink_to(kept)
        refused(UnsafePathError, "link", folder)
        (folder / name).unlink()
        if kept.is_file():
            os.link(kept, folder / name)
            Bundle.open(folder)
            (folder / name).unlink()
        kept.rename(folder / name)
    (folder / "more").symlink_to("nowhere")
    refused(UnsafePathError, "'more' is a link", folder)


@pytest.mark.parametrize("name", ["manifest.json", "extractor.onnx", "golden/index.json"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_only_regular_files_and_no_waiting_for_a_pipe(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    (folder / name).unlink()
    make(folder / name)
    refused(IntegrityError, "not a regular file", folder)


def test_what_changes_after_opening_is_not_used(folder: Path) -> None:
    bundle = Bundle.open(folder)
    path = folder / "refiner.onnx"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    for use in (lambda: bundle.read("refiner.onnx"), lambda: open_stage(bundle, "refiner")):
        with pytest.raises(IntegrityError, match="SHA-256"):
            use()
    path.rename(folder / "moved")
    path.symlink_to("moved")
    with pytest.raises(UnsafePathError):
        bundle.read("refiner.onnx")
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        bundle.read("refiner.onnx")
    path.write_bytes(good)
    assert bundle.read("refiner.onnx") == good


@pytest.mark.parametrize("name", ["manifest.json", "nowhere", "../bundle/refiner.onnx", "", "golden"])
def test_only_listed_files_are_handed_out(folder: Path, name: str) -> None:
    bundle = Bundle.open(folder)
    for use in (bundle.read, bundle.file):
        with pytest.raises(IntegrityError, match="does not list"):
            use(name)


def test_stages_and_golden_that_are_not_there(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "bundle", golden=False))
    assert bundle.golden() is None
    with pytest.raises(BundleError, match="no stage 'refiner_unrolled'; it has extractor, refiner"):
        open_stage(bundle, "refiner_unrolled")


@pytest.mark.parametrize("field", ["frames", "size"])
def test_a_golden_sequence_fits_its_manifest(folder: Path, field: str) -> None:
    def change(tree: dict[str, Any]) -> None:
        if field == "frames":
            tree["golden"]["frames"] += 1
        else:
            tree["preprocessing"]["size"] += 1
            tree["stages"]["extractor"]["inputs"][0]["shape"][2:] = [tree["preprocessing"]["size"]] * 2

    edit_manifest(folder, change)
    with pytest.raises(IntegrityError, match="the golden sequence has"):
        Bundle.open(folder).golden()


UNSAFE = [
    "", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", ".", "./x", "a/./b", "a//b", "a/", "a\\b", "..\\x", "C:",
    "C:x", "C:/x", "//host/x", "\\\\host\\x", "x\x00", "x\n", "a b", " a", "a ", "a.", "a./b", ".a", "é", "e\u0301",
    "a\u202eb", "～", "~/x", "%2e%2e/x", "file:///x", "a:b", "a*", "a?", "\ud800",
    "x" * (MAX_PATH + 1), "a/" * 100 + "a",
]  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE)
def test_unsafe_paths(folder: Path, path: str) -> None:
    edit_manifest(folder, lambda tree: tree["files"].append({"path": path, "bytes": 0, "sha256": "0" * 64}))
    with pytest.raises((UnsafePathError, ManifestError)) as caught:  # lone surrogates do not pass the JSON parser
        Bundle.open(folder)
    assert isinstance(caught.value, ManifestError) == (path == "\ud800" or len(path) > MAX_PATH)
    str(caught.value).encode()


@pytest.mark.parametrize("path", ["a", "a-b_c.1.onnx", "A/b/c.mlmodelc/weights.bin", "-", "0", "x" * MAX_PATH, "a..b"])
def test_safe_paths(path: str) -> None:
    check_paths(iter([path]))


@pytest.mark.parametrize(
    "paths", [["a", "A"], ["x/a", "X/b"], ["x/y/a", "x/Y/b"], ["Manifest.json"], ["a.onnx", "b", "A.ONNX"]]
)
def test_names_that_differ_in_case_alone(paths: list[str]) -> None:
    with pytest.raises(UnsafePathError, match="case alone"):
        check_paths(iter(paths))


def test_a_manifest_cannot_list_itself() -> None:
    with pytest.raises(ManifestError, match="lists itself"):
        check_paths(iter(["manifest.json"]))
    check_paths(iter(["deeper/manifest.json"]))


@settings(deadline=None)
@given(path=st.text(max_size=30) | st.text("abcA0._-/\\: ~", max_size=12))
def test_an_accepted_path_means_the_same_everywhere(path: str) -> None:
    try:
        check_paths(iter([path]))
    except (UnsafePathError, ManifestError):
        return
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    assert str(posix) == path and posix.parts == windows.parts == tuple(path.split("/"))
    assert not posix.is_absolute() and not windows.drive and not windows.root
    assert os.path.normpath(path) == path and ".." not in posix.parts
    assert path.isascii() and path.isprintable()


@settings(deadline=None)
@given(parts=st.lists(st.text("abzAZ09_-", min_size=1, max_size=8), min_size=1, max_size=5))
def test_plain_names_are_accepted(parts: list[str]) -> None:
    path = "/".join(parts)
    assume(path.lower() != "manifest.json")
    check_paths(iter([path, *(f"{path}.{i}" for i in range(3))]))


@settings(deadline=None)
@given(name=st.from_regex(re.compile(r"[a-z]{1,6}(\.[a-z]{1,3})?"), fullmatch=True), data=st.data())
def test_another_spelling_of_a_listed_path_is_refused(name: str, data: st.DataObject) -> None:
    other = "".join(c.upper() if data.draw(st.booleans()) else c for c in name)
    assume(other != name)
    with pytest.raises(UnsafePathError, match="case alone"):
        check_paths(iter([f"x/{name}", f"x/{other}"]))


def test_a_file_cannot_be_a_folder_too(folder: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["files"].append({**tree["files"][0], "path": f"{tree['files'][0]['path']}/inside"})

    edit_manifest(folder, change)
    with pytest.raises(BundleError):
        Bundle.open(folder)


def test_deeper_folders_are_walked(folder: Path) -> None:
    deep = folder / "golden" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "c").write_bytes(b"x")
    rehash(folder)
    assert Bundle.open(folder).read("golden/a/b/c") == b"x"
    (deep / "d").touch()
    refused(IntegrityError, "'golden/a/b/d'", folder)


def test_reading_a_bundle_needs_neither_torch_nor_an_engine(folder: Path) -> None:
    program = (
        "import sys; from qlot.runtime.bundle.folder import Bundle; Bundle.open(sys.argv[1]).golden(); "
        "assert not {'torch', 'onnxruntime', 'onnx'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
