"""`qlot inspect` and `qlot verify` on small bundles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from qlot.cli.main import run
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Manifest
from qlot.runtime.bundle.parsing import parse_manifest
from tests.runtime.bundles import edit_manifest, rehash, write_bundle

PARITY = {
    "reference": "PyTorch float32", "clip": "a clip", "frames": 3, "median_px": 1e-6, "p99_px": 2e-6, "max_px": 3e-6,
    "worst": {"frame": 2, "step": 1, "landmark": "nose"}, "max_result_px": 3e-6, "max_log_sigma": 0.001,
    "tolerance": {"px": 0.01, "log_sigma": 0.01},
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bundle(tmp_path_factory.mktemp("bundles") / "b", unrolled=True)
    edit_manifest(folder, lambda m: m.update(parity=PARITY))
    return folder


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def code_of(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        run([str(a) for a in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def inspected(bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    assert code_of("inspect", bundle) == 0
    return capsys.readouterr().out


def test_inspect_shows_every_part(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = inspected(bundle, capsys, monkeypatch)
    manifest = Bundle.open(bundle).manifest
    for stage in manifest.stages.values():
        assert stage.file in text
        for tensor in (*stage.inputs, *stage.outputs):
            assert tensor.name in text and "x".join(map(str, tensor.shape)) in text and tensor.dtype in text
        assert f"{sum(stage.ops.values())} operators" in text
    for part in (
        "onnx, windowed correlation", "five, 5 landmarks", "32x32 RGB in [0, 1]", "radius 8 px, cutoff 0.1",
        "2 refinement steps", "artanh rho", "PyTorch float32",
        "frame 2, step 1, nose", "3 frames", "1e-06, 2e-06, 3e-06",
    ):  # fmt: skip
        assert part in text


def test_inspect_adds_up_sizes(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line.split() for line in inspected(bundle, capsys, monkeypatch).splitlines()]
    shown = {" ".join(words[:-2]): words[-2] for words in lines if words and words[-1] == "MB"}
    sizes = {p.relative_to(bundle).as_posix(): p.stat().st_size for p in bundle.rglob("*") if p.is_file()}
    golden = sum(size for path, size in sizes.items() if path.startswith("golden/"))
    expected = {**sizes, "whole": sum(sizes.values()), "without the golden sequence": sum(sizes.values()) - golden}
    assert shown == {label: f"{size / 1e6:.3f}" for label, size in expected.items()}


def test_inspect_counts_work(copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def change(m: dict[str, dict[str, dict[str, int]]]) -> None:
        m["stages"]["extractor"]["macs"], m["stages"]["refiner"]["macs"] = 400_000_000, 80_000_000

    edit_manifest(copy, change)
    text = " ".join(inspected(copy, capsys, monkeypatch).split())
    assert "cold frame 720.0 M" in text and "tracked frame 480.0 M" in text


def test_inspect_shows_functions_and_what_a_delegate_left_outside(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(m: dict[str, dict[str, dict[str, object]]]) -> None:
        stages = m["stages"]
        stages["extractor"] |= {"delegation": {"delegate": "XNNPACK", "partitions": 2, "outside": {"SIGN": 1}}}
        stages["refiner"] |= {"delegation": {"delegate": "XNNPACK", "partitions": 1, "outside": {}}, "function": "f"}

    assert "partitions" not in inspected(copy, capsys, monkeypatch)
    edit_manifest(copy, change)
    text = inspected(copy, capsys, monkeypatch)
    assert "XNNPACK: 2 partitions, outside: SIGN 1" in text
    assert "XNNPACK: 1 partition, outside: nothing" in text
    assert "refiner: refiner.onnx (f), one refinement step" in text


def test_inspect_is_readable_in_80_columns(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    meaning = "what a tensor with a long name and a long unit says of itself"

    def change(m: dict[str, dict[str, dict[str, list[dict[str, str]]]]]) -> None:
        for tensor in m["stages"]["refiner_unrolled"]["outputs"]:
            tensor |= {"meaning": meaning, "unit": "px, ln px, 1, px"}

    edit_manifest(copy, change)
    monkeypatch.setenv("COLUMNS", "80")
    assert code_of("inspect", copy) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert text.count(f"       {meaning}") == 4, "in one piece, once for each"
    assert "  out  total_displacement  1x5x2    float32  px, ln px, 1, px\n" in text


def test_inspect_json_is_the_manifest(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("inspect", bundle, "--json") == 0
    printed = capsys.readouterr().out
    assert parse_manifest(printed) == Bundle.open(bundle).manifest
    assert set(json.loads(printed)) == set(Manifest.model_fields)


def test_inspect_without_golden(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = inspected(write_bundle(tmp_path / "b", golden=False), capsys, monkeypatch)
    assert "whole" in text and "without the golden sequence" not in text
    assert "measured" in text


def test_a_damaged_bundle_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray((copy / "refiner.onnx").read_bytes())
    data[100] ^= 1
    (copy / "refiner.onnx").write_bytes(data)
    for command in ("inspect", "verify"):
        assert code_of(command, copy) == 2
        assert "'refiner.onnx' has another SHA-256" in capsys.readouterr().err


def test_verify_passes_and_shows_each_frame(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("verify", bundle, "--threads", 2) == 0
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    assert [words[0] for words in lines if len(words) == 3 and words[0].isdigit()] == [
        "0",
        "1",
        "2",
        "1",
        "2",
        "3",
        "4",
    ]
    for part in ("onnxruntime", "0.01 px of the network input", "passed", "PyTorch float32"):
        assert part in said.out
    assert said.err == ""


def test_verify_names_the_worst_landmark(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stored position of the nose after the last step of the first frame is moved by a quarter of a pixel."""
    index = json.loads((copy / "golden/index.json").read_text())
    spec = next(t for t in index["tensors"] if t["name"] == "landmarks")
    data = bytearray((copy / "golden/data.bin").read_bytes())
    landmarks = np.frombuffer(data, np.float32, spec["bytes"] // 4, spec["offset"]).reshape(spec["shape"])
    landmarks[0, 3, 2, 0] += 0.25
    (copy / "golden/data.bin").write_bytes(data)
    rehash(copy)
    assert code_of("verify", copy) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("error: the replay is 0.25 px off")
    assert "frame 0, step 4, landmark 'nose'" in said.err and "0.01 px" in said.err
    assert "passed" not in said.out and "2.50e-01" in said.out


def test_verify_needs_a_golden_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("verify", write_bundle(tmp_path / "b", golden=False)) == 2
    assert "cannot be verified: it was exported with --no-golden" in capsys.readouterr().err
