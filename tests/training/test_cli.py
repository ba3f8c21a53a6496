"""The command `qlot train` from its front door, on a tiny folder of made-up faces."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qlot.cli.main import run
from qlot.model.checkpoint import load_checkpoint
from qlot.training.fit.journal import read_journal
from qlot.training.fit.recipe import Recipe
from qlot.training.fit.schedule import learning_rate
from tests.training.tiny import SIZES, write_faces


def _toml(path: Path, **changes: object) -> Path:
    values: dict[str, object] = {"preset": "tiny", "steps": 3, "batch": 2, "frames": 2, "landmarks": 20, "warm_up": 1}
    stages = ", ".join("{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in s.items()) + "}" for s in SIZES["stages"])
    lines = [f"{k} = {json.dumps(v)}" for k, v in (values | changes).items()]
    lines += ["[[material]]", 'kind = "faces"', 'path = "faces/faces_train"', "share = 1.0", "[model]"]
    lines += [f"{k} = {json.dumps(v)}" for k, v in SIZES.items() if k != "stages"] + [f"stages = [{stages}]"]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("faces_train", "faces_val"):
        write_faces(tmp_path / "data" / "faces" / name)
    return tmp_path / "data"


def _train(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        run(["train", "--accelerator", "cpu", "--threads", "1", *map(str, arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "Traceback" not in said
    return said


def test_a_recipe_becomes_weights(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = _toml(tmp_path / "r.toml"), tmp_path / "out"
    assert _train(recipe, "--data", data, "--out", out, "--workers", 0) == 0
    said = capsys.readouterr().out
    assert "1.00  faces_train (ibug68): 4" in said and f"weights: {out / 'weights.safetensors'}" in said
    model = load_checkpoint(out / "weights.safetensors")
    assert model.config.image_size == 64
    entries = read_journal(out / "log.jsonl")
    assert [(e["kind"], e["step"]) for e in entries] == [("validate", 3), ("train", 3)]
    assert {"nme", "fr10", "inside90"} <= set(entries[0]) and entries[0]["nme"] > 0
    assert "step 3: loss" in said and "nme" in said  # the line of a validation
    assert _train(recipe, "--data", data, "--out", out, "--workers", 0, "--steps", 4, "--no-validate") == 0
    assert [e["step"] for e in read_journal(out / "log.jsonl")] == [3, 3, 4]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_and_does_not_pass_for_a_finished_one(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    recipe, out = _toml(tmp_path / "r.toml"), tmp_path / "out"

    def rate(plan: Recipe, step: int) -> float:
        if step == 1:
            signal.raise_signal(number)
        return learning_rate(plan, step)

    monkeypatch.setattr("qlot.training.fit.loop.learning_rate", rate)
    arguments = (recipe, "--data", data, "--out", out, "--workers", 0, "--no-validate")
    assert _train(*arguments) == code
    said = capsys.readouterr().out
    assert said.endswith("stopped at step 2 of 3: the same command goes on from there\n")
    assert load_checkpoint(out / "weights.safetensors").config.image_size == 64
    monkeypatch.undo()
    assert _train(*arguments) == 0
    assert "stopped at" not in capsys.readouterr().out


def test_an_unreadable_picture_is_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is found in the middle of the run, by a worker process."""
    write_faces(data / "faces" / "faces_train", damaged=2)
    recipe = _toml(tmp_path / "r.toml", steps=50)
    assert _train(recipe, "--data", data, "--out", tmp_path / "out", "--no-validate") == 2
    assert _error(capsys).endswith("faces_train.tar: 2.png is not a readable picture. Fetch the archive again.\n")


def test_what_is_not_there_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = _toml(tmp_path / "r.toml"), tmp_path / "out"
    assert _train("nanno", "--data", data, "--out", out) == 2
    assert "no recipe nanno" in _error(capsys)
    assert _train(recipe, "--data", tmp_path / "nowhere", "--out", out) == 2
    assert "nowhere is not a folder: give the one that holds the training material with --data" in _error(capsys)
    (data / "faces" / "faces_val.tar").unlink()
    assert _train(recipe, "--data", data, "--out", out) == 2
    assert _error(capsys).endswith("--no-validate.\n")
    (data / "faces" / "faces_train.npz").unlink()
    assert _train(recipe, "--data", data, "--out", out) == 2
    assert "faces_train: not readable as labelled faces" in _error(capsys)
    assert not out.exists()


def test_another_recipe_in_the_same_folder(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ("--data", data, "--out", out, "--workers", 0, "--no-validate")
    assert _train(_toml(tmp_path / "r.toml", steps=1), *arguments) == 0
    capsys.readouterr()
    assert _train(_toml(tmp_path / "r.toml", steps=1, batch=3), *arguments) == 2
    assert "was begun with another recipe: batch differ" in _error(capsys)


def test_what_this_machine_cannot_do_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (_toml(tmp_path / "r.toml"), "--data", data, "--out", tmp_path / "out", "--no-validate")
    assert _train(*arguments, "--precision", "8-wrong") == 2
    assert "precision '8-wrong'" in _error(capsys)
    assert _train(*arguments, "--accelerator", "abacus") == 2
    assert "accelerator 'abacus'" in _error(capsys)


def test_the_command_line_module_loads_no_torch() -> None:
    code = "import sys, qlot.training.cli; print([m for m in ('torch', 'lightning_fabric', 'cv2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
