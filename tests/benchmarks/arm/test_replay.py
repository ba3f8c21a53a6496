"""Recording and judging, on this machine's own kernels; what is refused before anything is downloaded."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qlot.benchmarks.arm.__main__ import main
from qlot.benchmarks.arm.errors import ArmError
from qlot.benchmarks.arm.recording import ERROR, OFF, Recording, record
from qlot.benchmarks.arm.recording import main as record_main
from qlot.benchmarks.arm.replay import judge
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import ParityError
from qlot.runtime.network.replay import replay
from tests.runtime.bundles import edit_manifest, rehash, write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(write_bundle(tmp_path_factory.mktemp("arm") / "bundle", unrolled=True))


@pytest.fixture(scope="module")
def host(bundle: Bundle) -> Recording:
    return record(bundle)


def test_a_recording_is_judged_as_the_runtime_judges(bundle: Bundle, host: Recording) -> None:
    report, wanted = judge(bundle, host, host), replay(bundle)
    np.testing.assert_array_equal(report.golden.errors, wanted.errors)
    assert (report.golden.sigma, report.golden.hidden) == (wanted.sigma, wanted.hidden)
    assert report.golden.passed and report.host.max_px == 0
    assert host.machine == platform.machine()


def test_a_recording_survives_its_file(host: Recording, tmp_path: Path) -> None:
    arm = replace(host, features=frozenset({"asimd", "asimddp"}), machine="aarch64")
    arm.write(tmp_path / "recording.npz")
    back = Recording.read(tmp_path / "recording.npz")
    np.testing.assert_array_equal(back.landmarks, arm.landmarks)
    np.testing.assert_array_equal(back.hidden, arm.hidden)
    assert (back.engine, back.machine, back.features) == (arm.engine, arm.machine, arm.features)


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_landmark_that_strays_is_found(bundle: Bundle, host: Recording, value: float) -> None:
    landmarks = host.landmarks.copy()
    landmarks[2, 0, 3, 0] += value
    report = judge(bundle, replace(host, landmarks=landmarks), host)
    assert not report.golden.passed
    assert (report.golden.worst.frame, report.golden.worst.step) == (2, 1)
    assert report.host.max_px == (pytest.approx(1, rel=1e-4) if value == 1 else np.inf)


def test_an_engine_without_its_delegate_is_not_compared(bundle: Bundle, host: Recording) -> None:
    with pytest.raises(ArmError, match=r"ran in ai-edge-litert \S+ CPU on"):
        judge(bundle, replace(host, engine="ai-edge-litert 2.3.0 CPU"), host)


def test_the_recorder_tells_what_went_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record_main(str(tmp_path / "none"), str(tmp_path / "out.npz")) == ERROR
    folder = write_bundle(tmp_path / "bundle", golden=False)
    assert record_main(str(folder), str(tmp_path / "out.npz")) == OFF
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return stop.value.code, capsys.readouterr().err


def test_a_bundle_without_golden_sequence_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bundle(tmp_path / "bundle", golden=False)
    code, text = refused(capsys, folder, "--cache", tmp_path / "cache")
    assert code == 1 and "has no golden sequence: export it without --no-golden" in text
    assert not (tmp_path / "cache").exists()


def test_a_core_ml_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bundle(tmp_path / "bundle")
    for stage in ("extractor", "refiner"):
        (folder / f"{stage}.mlpackage").mkdir()
        (folder / f"{stage}.onnx").rename(folder / f"{stage}.mlpackage" / "model")
        edit_manifest(folder, lambda m, s=stage: m["stages"][s].update(file=f"{s}.mlpackage"))
    edit_manifest(folder, lambda m: m.update(target="coreml"))
    rehash(folder)
    code, text = refused(capsys, folder, "--cache", tmp_path / "cache")
    assert code == 2 and "no Linux kernels of it to emulate" in text
    assert not (tmp_path / "cache").exists()


def test_without_qemu_the_command_says_so(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, text = refused(capsys, bundle.path, "--cache", tmp_path / "cache")
    assert code == 2 and "qemu is not installed" in text
    assert not (tmp_path / "cache").exists()


def test_a_bundle_without_a_sequence_cannot_be_judged(host: Recording, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="no golden sequence"):
        judge(Bundle.open(write_bundle(tmp_path / "bundle", golden=False)), host, host)
