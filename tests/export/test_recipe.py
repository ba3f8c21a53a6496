"""Recipes: a file that repeats an export, and refuses when it could not."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.cli.main import run_export
from qlot.export import recipe
from qlot.export.calibration.frames import calibration_clip
from qlot.export.errors import ExportError
from qlot.export.options import TargetOptions
from qlot.export.request import ExportRequest, ExportResult
from qlot.model.layout import layout_path
from qlot.model.weights import weights_path
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import CalibrationSpec

ASKED = ExportRequest("onnx", "fp32", checkpoint="nano", unrolled=2)  # what the session's bundle was made of


@pytest.fixture
def done(bundle_fp32: Path) -> ExportResult:
    return ExportResult(Bundle.open(bundle_fp32), None, None)  # type: ignore[arg-type] - no recipe reads the report


def code_of(*arguments: object) -> object:
    with pytest.raises(SystemExit) as stop:
        run_export(list(map(str, arguments)))
    return stop.value.code


def test_a_recipe_holds_every_choice_and_gives_the_request_back(done: ExportResult, tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    recipe.save(file, ASKED, done)
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    manifest = done.bundle.manifest
    assert data["checkpoint"] == {"name": "nano", "sha256": manifest.model.checkpoint_sha256}
    assert data["layout"]["sha256"] == hashlib.sha256(layout_path("wflw98").read_bytes()).hexdigest()
    assert (data["target"], data["scheme"], data["iterations"], data["golden"]) == ("onnx", "fp32", 2, True)
    assert data["tools"] == manifest.tools and "calibration" not in data
    request, changed = recipe.request_of(file, tmp_path / "out", True, None)
    wanted = ExportRequest(
        "onnx", "fp32", checkpoint="nano", unrolled=2, lowering="windowed", out=tmp_path / "out", force=True
    )
    assert (request, changed) == (wanted, "")
    assert [p.name for p in tmp_path.iterdir()] == ["r.toml"]


def test_options_and_calibration_come_back(done: ExportResult, tmp_path: Path) -> None:
    used = CalibrationSpec(source="builtin", frames=100, sha256=calibration_clip().sha256)
    asked = ExportRequest("onnx", "int8", golden=False, options=TargetOptions("ort"), checkpoint="nano")
    recipe.save(tmp_path / "r.toml", asked, ExportResult(done.bundle, done.report, used))
    request, _ = recipe.request_of(tmp_path / "r.toml", None, False, None)
    assert (request.scheme, request.golden, request.options, request.calibration) == (
        "int8",
        False,
        TargetOptions("ort"),
        None,
    )
    change(tmp_path / "r.toml", "calibration", "sha256", "0" * 64)
    with pytest.raises(ExportError, match="the calibration builtin is another one than the recipe's"):
        recipe.request_of(tmp_path / "r.toml", None, False, None)


def own_files(done: ExportResult, folder: Path) -> Path:
    """A recipe beside a checkpoint and a layout of the user's own."""
    folder.mkdir()
    shutil.copy(weights_path("nano"), folder / "mine.safetensors")
    shutil.copy(layout_path("wflw98"), folder / "mine.json")
    asked = ExportRequest("onnx", checkpoint=str(folder / "mine.safetensors"), layout=str(folder / "mine.json"))
    recipe.save(folder / "r.toml", asked, done)
    return folder / "r.toml"


def test_files_are_named_from_the_recipes_folder_which_may_move(done: ExportResult, tmp_path: Path) -> None:
    own_files(done, tmp_path / "a")
    moved = (tmp_path / "a").rename(tmp_path / "b") / "r.toml"
    assert 'path = "mine.safetensors"' in moved.read_text()
    request, _ = recipe.request_of(moved, None, False, None)
    assert (request.checkpoint, request.layout) == (
        str(moved.parent / "mine.safetensors"),
        str(moved.parent / "mine.json"),
    )


def change(file: Path, *place_and_value: Any) -> None:
    *above, key, value = place_and_value
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    part = data
    for name in above:
        part = part[name]
    part[key] = value
    file.write_text("".join(recipe._toml(data)), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f.parent / "mine.safetensors").write_bytes(b"x"), "the checkpoint mine.safetensors is another one"),
        (lambda f: (f.parent / "mine.json").write_bytes(b"{}"), "the layout mine.json is another one"),
        (lambda f: (f.parent / "mine.safetensors").unlink(), "no checkpoint file"),
        (lambda f: (f.parent / "mine.json").unlink(), "there is no layout"),
        (lambda f: change(f, "sceme", "w8"), "is no recipe of an export: sceme: Extra inputs are not permitted"),
        (lambda f: change(f, "options", "packing", "zip"), "options.packing: Input should be"),
        (lambda f: change(f, "golden", 1), "golden: Input should be a valid boolean"),
        (lambda f: change(f, "checkpoint", "name", "nano"), "give either a name or a path"),
        (lambda f: change(f, "version", 2), "has recipe version 2, this qlot reads 1"),
        (lambda f: f.write_text("version ="), "is not TOML"),
        (lambda f: f.write_bytes(b"\xff"), "is not TOML"),
        (lambda f: f.unlink(), "cannot read the recipe"),
    ],
)
def test_what_would_not_repeat_is_refused_in_one_line(
    spoil: Any, message: str, done: ExportResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = own_files(done, tmp_path / "a")
    spoil(file)
    assert code_of("--recipe", file, "--out", tmp_path / "out", "--dry-run") == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "out").exists()


def test_other_versions_are_said_once_and_do_not_stop(
    done: ExportResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.toml"
    recipe.save(file, ASKED, done)
    change(file, "tools", "onnx", "0.0.1")
    assert code_of("--recipe", file, "--out", tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr()
    here = importlib.metadata.version("onnx")
    assert said.err == f"warning: {file} was made with onnx 0.0.1 (here {here}): the graphs may differ.\n"
    assert f"would be written: {tmp_path / 'out'}" in said.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "r", "--scheme", "w8"], "--recipe answers --scheme itself"),
        (["--recipe", "r", "-t", "onnx", "-c", "nano"], "--recipe answers --target and --checkpoint itself"),
        (["--recipe", "r", "--save-recipe", "s"], "--recipe answers --save-recipe itself"),
        (["-t", "onnx", "--dry-run", "--save-recipe", "s"], "--dry-run writes nothing, and no recipe"),
        (["-t", "all", "--save-recipe", "s"], "a recipe is of one target"),
        (["-t", "onnx", "-o", "b", "--save-recipe", "b/s"], "inside the bundle"),
        (["-t", "onnx", "--save-recipe", "there"], "there exists already"),
        ([], "Add --target onnx, tflite, coreml or all; or --recipe FILE"),
    ],
)
def test_options_that_contradict_are_refused(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").write_text("")
    assert code_of(*options) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
flat = st.dictionaries(texts, texts | st.booleans() | st.integers(-(2**63), 2**63 - 1), max_size=4)


@given(st.dictionaries(texts, texts | st.booleans() | flat | st.dictionaries(texts, flat, max_size=2), max_size=4))
def test_what_is_written_is_what_is_read(values: dict[str, Any]) -> None:
    assert tomllib.loads("".join(recipe._toml(values))) == values


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["w8a8"])  # calibrated: it reads most
def test_an_export_is_repeated_to_the_byte(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = ["-t", "onnx", "-c", "nano", "--layout", "eyes", "--no-golden", "--scheme", scheme, "-o", "first"]
    assert code_of(*first, "--save-recipe", "r.toml") == 0
    assert code_of("--recipe", "r.toml", "-o", "again") == 0
    assert capsys.readouterr().err == ""
    assert hashes("again") == hashes("first")
    assert json.loads(Path("again/manifest.json").read_text()) == json.loads(Path("first/manifest.json").read_text())


def hashes(folder: str) -> dict[str, str]:
    found = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in Path(folder).glob("*.onnx")}
    assert len(found) == 2
    return found


def test_its_conversion_is_repeated_to_the_byte(done: ExportResult, tmp_path: Path) -> None:
    """The quick part of the test above: the refiner alone, against the session's bundle."""
    import torch

    from qlot.export.graphs.stages import make_stages
    from qlot.export.pipeline import prepare
    from qlot.model.fuse import fuse
    from qlot.model.torch_network import write_mask

    recipe.save(tmp_path / "r.toml", ASKED, done)
    request, _ = recipe.request_of(tmp_path / "r.toml", tmp_path / "out", False, None)
    ready = prepare(request)
    points = torch.tensor(ready.layout.points, dtype=torch.float32)
    fused = fuse(ready.model, points, mask=write_mask(ready.layout), lowering=request.lowering or "dense")
    stage = next(s for s in ready.converter.declare(make_stages(fused)) if s.name == "refiner")
    graph = ready.converter.convert(stage, ready.plan, None)
    assert graph.data == done.bundle.read("refiner.onnx")
