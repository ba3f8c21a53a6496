"""`qlot eval` from the command line to the files, with a tiny network on a tiny folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from qlot.model.checkpoint import save_checkpoint
from qlot.training.data.clip import DataError
from qlot.training.evaluation.cli import commands
from qlot.training.evaluation.results import Evaluation
from qlot.training.evaluation.run import EvaluationRequest, evaluate
from tests.export.small import network
from tests.runtime import bundles
from tests.training.evaluation.made import write_data

CONFIDENCE = {"bias": 2.0, "w_spread": -0.1, "found": 0.5, "lost": 0.1, "calibration": "made up"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("eval") / "data", frames=9)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(network(), path, confidence=json.dumps({"ibug68": CONFIDENCE}))
    return path


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    commands(app)
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(a) for a in arguments], catch_exceptions=True)


@pytest.fixture(scope="module")
def everything(weights: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("result") / "out"
    return run(weights, "--data", data, "--out", out, "--reset-state"), out


def test_all_that_was_measured_is_printed(everything: tuple[Result, Path]) -> None:
    done, out = everything
    assert done.exit_code == 0, done.output
    for part in (
        "small.safetensors: weights", "faces_val, ibug68: 4 faces of 2 people", "faces_val, mediapipe478", "outer eyes",
        "face size",
        "hidden state carried", "hidden state reset each frame", "reset against carried", "face covered",
        "a face that comes back", "faces_val-moved: the labels less (1.75, 1.8) px", f"written: {out}",
    ):  # fmt: skip
        assert part in done.output


def test_the_results_follow_the_schema_and_say_what_they_are_of(everything: tuple[Result, Path], weights: Path) -> None:
    _, out = everything
    result = Evaluation.model_validate_json((out / "results.json").read_text(), strict=True)
    assert result.subject.name == weights.name and result.data == "data"
    assert result.protocol.seed == 0 and result.protocol.cold == 4 and result.protocol.tracking == 1
    layouts = ["ibug68", "ibug68", "mediapipe478"]
    assert [(s.layout, s.faces, s.people) for s in result.stills] == [(layout, 4, 2) for layout in layouts]
    assert result.stills[0].accuracy[0].nme != result.stills[1].accuracy[0].nme
    assert set(result.stills[0].groups) == {
        "jaw", "right_brow", "left_brow", "nose", "right_eye", "left_eye", "outer_lips", "inner_lips",
    }  # fmt: skip
    (video,) = result.video
    assert [r.hidden for r in video.runs] == ["carried", "reset each frame"]
    assert video.runs[0].clips[0].frames == 9 and video.runs[0].clips[0].source.endswith("sbwe5n")
    assert result.faceless is not None and result.faceless.layout == "ibug68"
    assert len({s.data_sha256 for s in result.stills}) == 3


def test_the_pictures_are_there_and_nothing_else(everything: tuple[Result, Path]) -> None:
    _, out = everything
    assert sorted(p.name for p in out.iterdir()) == [
        "errors.png", "nad-mediapipe478.png", "results.json", "worst-faces_val-ibug68.png",
        "worst-faces_val-mediapipe478.png", "worst-faces_val-moved-ibug68.png", "worst-video-mediapipe478.png",
    ]  # fmt: skip
    assert not list(out.parent.glob(".*"))
    assert (out / "errors.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_run_gives_the_same_figures(everything: tuple[Result, Path], weights: Path, data: Path) -> None:
    _, out = everything
    stored = Evaluation.model_validate_json((out / "results.json").read_text())
    again = evaluate(EvaluationRequest(str(weights), data, parts=("stills",)))
    assert again.stills == stored.stills
    assert again.video == () and again.faceless is None


def test_an_existing_folder_is_kept_unless_forced(weights: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    (out / "nad-wflw98.png").write_text("of an earlier run")
    request = EvaluationRequest(str(weights), data, layout="ibug68", parts=("stills",), out=out)
    with pytest.raises(DataError, match="--force"):
        evaluate(request)
    assert len(list(out.iterdir())) == 2
    done = run(weights, "--data", data, "--out", out, "--layout", "ibug68", "--part", "stills", "--force")
    assert done.exit_code == 0
    assert {p.name for p in out.iterdir()} == {
        "mine.txt", "results.json", "errors.png", "worst-faces_val-ibug68.png",
        "worst-faces_val-moved-ibug68.png",
    }  # fmt: skip


def test_a_failure_leaves_nothing_behind(weights: Path, data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "data"
    (broken / "faces").mkdir(parents=True)
    content = bytearray((data / "faces" / "faces_val.tar").read_bytes())
    content[512:560] = b"\0" * 48
    (broken / "faces" / "faces_val.tar").write_bytes(content)
    (broken / "faces" / "faces_val.npz").write_bytes((data / "faces" / "faces_val.npz").read_bytes())
    with pytest.raises(DataError, match=r"00000\.jpg"):
        evaluate(EvaluationRequest(str(weights), broken, out=tmp_path / "out"))
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_bundle_of_another_layout_is_told_how_to_be_exported(data: Path, tmp_path: Path) -> None:
    bundle = bundles.write_bundle(tmp_path / "bundle")
    done = run(bundle, "--data", data)
    assert isinstance(done.exception, DataError)
    assert "ibug68 or mediapipe478" in str(done.exception) and "--layout ibug68" in str(done.exception)
    done = run(bundle, "--data", data, "--layout", "ibug68")
    assert isinstance(done.exception, DataError) and "leave out --layout" in str(done.exception)


def test_a_bundle_of_any_layout_is_tried_on_frames_without_a_face(data: Path, tmp_path: Path) -> None:
    bundle = bundles.write_bundle(tmp_path / "bundle")
    result = evaluate(EvaluationRequest(str(bundle), data, parts=("faceless",)))
    assert result.faceless is not None and result.faceless.layout == result.subject.layout
    assert [f.frames for f in result.faceless.false_acquisitions] == [9, 9, 9]


def test_weights_without_a_confidence_say_what_they_could_not_measure(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    save_checkpoint(network(), path)
    done = run(path, "--data", data, "--part", "video", "--part", "faceless", "--layout", "mediapipe478")
    assert done.exit_code == 0, done.output
    assert done.output.count("remark: ") == 2 and "evaluate a bundle" in " ".join(done.output.split())


def test_frames_of_the_users_own_count(weights: Path, data: Path, tmp_path: Path) -> None:
    import cv2

    own = tmp_path / "walls"
    own.mkdir()
    cv2.imwrite(str(own / "wall.png"), np.full((64, 64, 3), 90, np.uint8))
    request = EvaluationRequest(str(weights), data, layout="ibug68", parts=("faceless",), faceless=own)
    result = evaluate(request).faceless
    assert result is not None
    assert [(f.kind, f.frames) for f in result.false_acquisitions] == [
        ("face covered", 9), ("tiles shuffled", 9), ("texture", 9), ("walls", 30),
    ]  # fmt: skip


def test_help_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(run("--help").output.split())
    for part in ("WEIGHTS_OR_BUNDLE", "--reset-state", "[default: 4]", "over people", "Examples:", "--part stills"):
        assert part in text
