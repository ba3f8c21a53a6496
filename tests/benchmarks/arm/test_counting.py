"""Counted instructions: the same at every count, more for more work, and what is counted is what was meant."""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from qlot.benchmarks.arm.counting import Instructions, count, counting_environment, main
from qlot.benchmarks.arm.errors import ArmError, ArmUnavailable
from qlot.benchmarks.arm.processors import PROCESSORS
from qlot.runtime.bundle.folder import Bundle


def test_instructions_add_up() -> None:
    one, other = Instructions(10, 5, 4, 3, 2, 1), Instructions(1, 1, 0, 1, 0, 1)
    assert (one + other).values == (11, 6, 4, 4, 2, 2) and (one - other).total == 9
    assert one.multiply_share == 0.4


def test_a_bundle_without_a_golden_sequence_is_refused(
    bundle_fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Bundle.open(bundle_fp32)
    golden = bundle.manifest.golden.model_copy(update={"included": False})
    without = replace(bundle, manifest=bundle.manifest.model_copy(update={"golden": golden}))
    monkeypatch.setattr(Bundle, "open", lambda _: without)
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path)])
    assert end.value.code == 2 and "has no golden sequence" in capsys.readouterr().err


@pytest.mark.slow
def test_counts_repeat_and_follow_the_work(bundle_fp32: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(bundle_fp32)
    try:
        environment = counting_environment(bundle)
    except ArmUnavailable as e:
        pytest.skip(str(e))
    first, again = (count(bundle, PROCESSORS["dotprod"], environment) for _ in range(2))
    for stage, found in first.items():
        assert again[stage].multiply == pytest.approx(found.multiply, rel=1e-3)
        assert again[stage].total == pytest.approx(found.total, rel=0.03)
        macs = bundle.manifest.stages[stage].macs  # type: ignore[index]
        # Four floats in a vector: fewer cannot do the graph's multiplications, and a kernel wastes few.
        assert 0.9 * macs / 4 < found.multiply < 2 * macs / 4
        assert found.multiply < found.vector < found.total
        assert found.load > found.store > 0
    with pytest.raises(ArmError, match="is not counted"):
        count(bundle, PROCESSORS["dotprod"], replace(environment, options=()))


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the compiler is for the host")
def test_the_plugin_compiles_without_a_warning(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "benchmarks" / "arm" / "instructions.c"
    if subprocess.run(["sh", "-c", "command -v gcc"], check=False, capture_output=True).returncode:
        pytest.skip("no gcc")
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(source)]
    done = subprocess.run([*command, "-o", str(tmp_path / "x.so")], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"qemu_plugin_version = 1;", source.read_text())
