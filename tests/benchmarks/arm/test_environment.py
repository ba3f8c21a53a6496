"""The emulated environment: what is asked for, whole or not at all, and what is said when it cannot be had."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import pytest

from qlot.benchmarks.arm import environment
from qlot.benchmarks.arm.environment import Environment, built, emulator, requirements
from qlot.benchmarks.arm.errors import ArmError, ArmUnavailable

needs_pip = pytest.mark.skipif(not shutil.which("pip3"), reason="needs pip")
needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt-get")


@pytest.fixture
def without_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def fill(folder: Path) -> None:
    (folder / "file").write_text("whole")


def test_a_folder_is_built_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "folder"
    assert built(folder, fill) == folder
    (folder / "file").write_text("kept")
    built(folder, fill)
    assert (folder / "file").read_text() == "kept"
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("error", [ArmError, KeyboardInterrupt])
def test_a_failed_build_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(error):
        built(tmp_path / "folder", fail)
    assert not list(tmp_path.iterdir())


def test_of_two_builders_the_first_wins(tmp_path: Path) -> None:
    def overtaken(folder: Path) -> None:
        fill(folder)
        built(tmp_path / "folder", lambda other: (other / "file").write_text("first") and None)

    built(tmp_path / "folder", overtaken)
    assert (tmp_path / "folder/file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ArmError, match=r"cannot write .*Choose another place with --cache"):
        built(tmp_path / "cache" / "folder", fill)


@pytest.mark.usefixtures("without_programs")
def test_without_qemu_its_package_is_named() -> None:
    with pytest.raises(ArmUnavailable, match=r"apt-get install .*qemu-user-static"):
        emulator()


def test_both_sides_have_the_same_versions() -> None:
    pins = requirements("onnx")
    assert f"onnxruntime=={importlib.metadata.version('onnxruntime')}" in pins
    assert [pin.split("==")[0] for pin in pins] == ["numpy", "pydantic", "onnxruntime"]


def test_core_ml_is_refused() -> None:
    with pytest.raises(ArmError, match="coreml bundle runs on Apple's systems only"):
        requirements("coreml")


def test_an_engine_that_is_not_installed_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environment.ENGINES, "onnx", ("no-such-engine", "none"))
    with pytest.raises(ArmError, match="pip install no-such-engine"):
        requirements("onnx")


@pytest.mark.usefixtures("without_programs")
def test_without_apt_debian_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArmUnavailable, match="apt-get is missing"):
        environment._unpack_system(Path("qemu"), tmp_path)


@needs_apt
def test_without_a_source_of_packages_apt_has_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apt.conf").write_text('Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "/dev/null";')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    with pytest.raises(ArmUnavailable, match=r"cannot download Debian's python3, .* for arm64: E: "):
        environment._unpack_system(Path("qemu"), tmp_path)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A system of which only Python's version is asked; pip with no settings but the test's."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    return Environment(Path("qemu"), tmp_path)


@needs_pip
def test_an_index_that_cannot_be_reached_is_no_missing_wheel(
    system: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(ArmUnavailable, match="package index cannot be reached"):
        environment._unpack_packages(system, "onnx", ["numpy==2.4.6"], tmp_path / "packages")


@needs_pip
def test_a_wheel_that_does_not_exist_is_named(
    system: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of wheels that has this one for another machine only."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "engine-1.0-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(ArmError, match=r"no aarch64 wheels of engine==1.0 for Python 3.11: .*engine") as found:
        environment._unpack_packages(system, "onnx", ["engine==1.0"], tmp_path / "packages")
    assert not isinstance(found.value, ArmUnavailable)
