"""What counts as agreement between processors, and what an emulated one must report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qlot.benchmarks.arm.errors import ArmError, ArmUnavailable
from qlot.benchmarks.arm.recording import Recording, record
from qlot.benchmarks.kernels.__main__ import main
from qlot.benchmarks.kernels.agreement import agreement
from qlot.benchmarks.kernels.x86 import PROCESSORS, emulator
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from tests.runtime.bundles import write_bundle


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, GoldenSequence]:
    bundle = Bundle.open(write_bundle(tmp_path_factory.mktemp("kernels") / "bundle"))
    golden = bundle.golden()
    assert golden is not None
    return record(bundle), golden


@pytest.mark.parametrize("place", [np.s_[0, 0, 2, 0], np.s_[1, 0, 2, 1], np.s_[1:, :, :, 0]])
@pytest.mark.parametrize("value", [0.06, np.nan])
def test_one_landmark_of_one_frame_is_enough_to_disagree(
    recorded: tuple[Recording, GoldenSequence], place: object, value: float
) -> None:
    host, golden = recorded
    landmarks = host.landmarks.copy()
    assert agreement(replace(host, landmarks=landmarks), host, golden).passed
    landmarks[place] += value
    assert not agreement(replace(host, landmarks=landmarks), host, golden).passed


def test_a_processor_with_other_instructions_is_refused() -> None:
    PROCESSORS["avx2"].check(frozenset({"AVX2", "FMA3", "SSE42"}))
    with pytest.raises(ArmError, match="Haswell-noTSX is wrong about AVX512F"):
        PROCESSORS["avx2"].check(frozenset({"AVX2", "FMA3", "AVX512F"}))
    with pytest.raises(ArmError, match="Nehalem is wrong about AVX2, SSE42"):
        PROCESSORS["sse4"].check(frozenset({"AVX2"}))


def test_without_qemu_its_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(ArmUnavailable, match=r"apt-get install .*qemu-user-static"):
        emulator()
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(ArmUnavailable, match="this machine is arm64"):
        emulator()


def test_a_bundle_without_golden_sequence_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bundle(tmp_path / "bundle", golden=False)
    with pytest.raises(SystemExit) as stop:
        main([str(folder)])
    assert stop.value.code == 1 and "no golden sequence" in capsys.readouterr().err
