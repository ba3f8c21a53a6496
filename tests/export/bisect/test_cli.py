"""`qlot bisect` on a real bundle: exit codes, what is saved, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from qlot.cli.main import run
from tests.export.graph_surgery import weight
from tests.runtime.bundles import rehash


def code_of(*arguments: object) -> object:
    with pytest.raises(SystemExit) as stop:
        run(["bisect", *map(str, arguments)])
    return stop.value.code


@pytest.mark.slow
def test_a_good_bundle_passes_and_one_with_a_changed_weight_does_not(
    bundle_fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    assert code_of(bundle_fp32, "-o", out) == 0
    assert "no call of extractor or refiner is beyond its bound" in capsys.readouterr().out
    assert not out.exists()
    bad = shutil.copytree(bundle_fp32, tmp_path / "bad")
    model = onnx.load(bad / "refiner.onnx")
    weight("refiner.delta.weight", 2.0)(model)
    onnx.save(model, bad / "refiner.onnx")
    rehash(bad)
    assert code_of(bad, "-o", out) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: frame 0, step 1: refiner, displacement") and said.err.count("\n") == 1
    assert f"saved: {out}" in said.out and (out / "call.npz").is_file()
    assert code_of(bad, "-o", out) == 2
    assert "exists already" in capsys.readouterr().err


def test_what_cannot_be_told_is_refused_before_the_work(
    bundle_fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    for arguments, message in (
        (("-o", tmp_path / "there"), "exists already"),
        (("-o", bundle_fp32 / "there"), "inside the bundle"),
        (("-o", tmp_path / "new", "-c", "base"), "base.safetensors is not the checkpoint"),
        (("-o", tmp_path / "new", "-c", "no.pth"), "no checkpoint file 'no.pth'"),
    ):
        assert code_of(bundle_fp32, *arguments) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
