"""The peers' plumbing. FaceMesh itself runs only where its environment has been made already."""

from __future__ import annotations

import ast
import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from qlot.benchmarks.peers import environment, facemesh
from qlot.benchmarks.peers.bare import bare_stages, tflite_graph
from qlot.benchmarks.peers.environment import PeerEnvironment, PeerError, last_line, prepare, run_script
from qlot.benchmarks.peers.facemesh import LANDMARKER_WORKER, WORKER, run_facemesh, run_landmarker
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Lowering, Target
from qlot.runtime.network.sessions import open_stage
from tests.export import small

FRAMES = np.zeros((3, 32, 48, 3), np.uint8)


def frames_file(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "frames.npz"
    np.savez(path, **(arrays or {"frames": FRAMES}))
    return path


@pytest.mark.parametrize("worker", [WORKER, LANDMARKER_WORKER])
def test_the_worker_needs_nothing_that_its_environment_lacks(worker: Path) -> None:
    tree = ast.parse(worker.read_text("utf-8"))
    modules = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    modules += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert set(modules) - sys.stdlib_module_names <= {"mediapipe", "mediapipe.tasks.python", "numpy"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": FRAMES}, "needs an .npz with an array `frames`"),
        ({"frames": FRAMES.astype(np.float32)}, "uint8 RGB"),
        ({"frames": FRAMES[0]}, "must be"),
        ({"frames": FRAMES[:0]}, "must be"),
    ],
)
def test_unusable_frames_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(PeerError, match=message):
        run_facemesh(frames_file(tmp_path, **arrays), tmp_path / "out.npz", environment=tmp_path / "venv")
    assert not (tmp_path / "venv").exists()


def test_a_failed_run_leaves_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: PeerEnvironment, __: Path, arguments: list[str]) -> None:
        Path(arguments[1]).write_bytes(b"half")
        raise PeerError("it broke")

    monkeypatch.setattr(facemesh, "prepare", PeerEnvironment)
    monkeypatch.setattr(facemesh, "run_script", fail)
    with pytest.raises(PeerError, match="it broke"):
        run_facemesh(frames_file(tmp_path), tmp_path / "out.npz", environment=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["frames.npz"]


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record what would be run in place of running it."""
    commands: list[list[str]] = []

    def note(command: list[str], what: str) -> None:
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir()
            (Path(command[-1]) / "pyvenv.cfg").touch()

    monkeypatch.setattr(environment, "_run", note)
    return commands


def test_the_environment_is_made_once(tmp_path: Path, installer: list[list[str]]) -> None:
    folder = tmp_path / "venv"
    made = prepare(folder)
    assert len(installer) == 2 and installer[1][0] == str(made.python) and "mediapipe==0.10.14" in installer[1]
    assert prepare(folder) == made and len(installer) == 2


def test_an_interrupted_installation_is_done_again(tmp_path: Path, installer: list[list[str]]) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    prepare(tmp_path / "venv")
    assert len(installer) == 2


def test_a_folder_with_other_things_in_it_is_not_touched(tmp_path: Path, installer: list[list[str]]) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(PeerError, match="neither empty nor a virtual environment"):
        prepare(tmp_path)
    assert (tmp_path / "thesis.tex").exists() and not installer


def test_another_python_is_told_which_to_use(
    tmp_path: Path, installer: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    with pytest.raises(PeerError, match=r"3\.9 to 3\.12"):
        prepare(tmp_path / "venv")
    assert not installer


def test_a_scripts_last_word_is_the_error(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text("raise SystemExit('first\\nthe reason\\n')")
    here = PeerEnvironment(tmp_path)
    (tmp_path / "bin").mkdir()
    here.python.parent.mkdir(parents=True, exist_ok=True)
    here.python.symlink_to(sys.executable)
    with pytest.raises(PeerError, match=r"worker\.py failed: the reason"):
        run_script(here, script, [])
    assert last_line(" \n") == "no reason given"


def test_a_missing_model_and_a_missing_engine_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerError, match="has no MediaPipe model"):
        PeerEnvironment(tmp_path).model("face_landmark/face_landmark.tflite")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(PeerError, match=r"pip install .*\[tflite\]"):
        tflite_graph(b"")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_bare_graphs_compute_what_the_runtime_does(target: Target, tmp_path: Path) -> None:
    lowering: Lowering = "windowed" if target == "onnx" else "dense"
    if target == "tflite":
        pytest.importorskip("litert_torch", reason="needs the extra tflite")
        from tests.export import tflite_graphs

        graphs = {n: tflite_graphs.graph(n, "fp32") for n in ("extractor", "refiner")}
    else:
        graphs = {n: small.graph(lowering, n) for n in ("extractor", "refiner")}
    bundle = Bundle.open(small.write_bundle(tmp_path / "bundle", graphs, target=target))
    extract, refine = bare_stages(bundle)
    feeds = {**small.feeds_of(small.stage(lowering, "extractor")), **small.feeds_of(small.stage(lowering, "refiner"))}
    sessions = open_stage(bundle, "extractor"), open_stage(bundle, "refiner")
    features = sessions[0].run({"image": feeds["image"]})
    own = {t.name: feeds[t.name] for t in sessions[1].inputs if t.name not in features}
    wanted, found = sessions[1].run({**features, **own}), refine({**extract(feeds), **own})
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)
    packages = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"target": "coreml"}))
    with pytest.raises(PeerError, match="only bundles for onnx and tflite"):
        bare_stages(packages)


@pytest.fixture
def mediapipe() -> PeerEnvironment:
    folder = Path(os.environ.get("QLOT_MEDIAPIPE") or environment.default_folder())
    if not (folder / "complete").exists():
        pytest.skip(f"no MediaPipe environment in {folder}; run the peer once, or set QLOT_MEDIAPIPE")
    return PeerEnvironment(folder)


@pytest.mark.parametrize(("refined", "count"), [(False, 468), (True, 478)])
def test_facemesh_finds_no_face_in_a_grey_wall(
    mediapipe: PeerEnvironment, tmp_path: Path, refined: bool, count: int
) -> None:
    run_facemesh(frames_file(tmp_path), tmp_path / "out.npz", refined, mediapipe.folder)
    with np.load(tmp_path / "out.npz") as found:
        assert found["landmarks"].shape == (3, count, 2) and np.isnan(found["landmarks"]).all()
        assert str(found["version"]).startswith("mediapipe 0.10.14")


def test_facemesh_follows_a_face_that_moves(mediapipe: PeerEnvironment, tmp_path: Path) -> None:
    from qlot.assets import sample_clip
    from qlot.runtime.media.video import VideoReader

    face = next(iter(VideoReader(sample_clip()))).rgb
    frames = np.stack([np.roll(face, 4 * i, axis=1) for i in range(4)])
    run_facemesh(frames_file(tmp_path, frames=frames), tmp_path / "out.npz", environment=mediapipe.folder)
    with np.load(tmp_path / "out.npz") as stored:
        found = stored["landmarks"]
    assert (found > 0).all() and (found < max(face.shape)).all()
    np.testing.assert_allclose((found[-1] - found[0]).mean(0), [12, 0], atol=1.5)


def test_what_the_landmarker_needs_is_named(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="`frames`, `fps`"):
        run_landmarker(frames_file(tmp_path), tmp_path / "out.npz", tmp_path / "no.task", tmp_path)
    with pytest.raises(PeerError, match=r"no model .*no\.task"):
        frames = frames_file(tmp_path, frames=FRAMES, fps=np.array(30.0))
        run_landmarker(frames, tmp_path / "out.npz", tmp_path / "no.task", tmp_path)


def test_the_landmarker_finds_a_face_in_the_sample_clip(
    mediapipe: PeerEnvironment, shared: Path, tmp_path: Path
) -> None:
    from qlot.assets import sample_clip
    from qlot.runtime.media.video import VideoReader

    face = next(iter(VideoReader(sample_clip()))).rgb
    frames = frames_file(tmp_path, frames=np.stack([face, np.roll(face, 4, axis=1)]), fps=np.array(30.0))
    model = shared / "peers" / "face_landmarker.task"
    run_landmarker(frames, tmp_path / "out.npz", model, mediapipe.folder)
    with np.load(tmp_path / "out.npz") as stored:
        found = stored["landmarks"]
        assert "FaceLandmarker" in str(stored["version"])
    assert found.shape == (2, 478, 2) and (found > 0).all() and (found < max(face.shape)).all()
