from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlot.benchmarks.jitter import rendering
from qlot.benchmarks.jitter.clips import RenderedClip
from qlot.benchmarks.jitter.protocol import JitterProtocol
from qlot.benchmarks.jitter.rendering import clips_of, jitter_scene, mesh_vertices
from qlot.training.data.clip import DataError
from qlot.training.data.synthetic.renderer import open_context
from tests.benchmarks.jitter.made import small_protocol

MOTIONS = [
    {"kind": "saccade", "seconds": 0.1, "step": 8, "rise": 0.04},
    {"kind": "blink", "seconds": 0.2, "closing": 0.08, "closed": 0.04, "opening": 0.16},
]
SMALL = small_protocol(frame={"size": 128, "fps": 30, "field": 34}, lead_in=0.1, motions=MOTIONS)


def test_nothing_is_in_front_of_the_face() -> None:
    for face in range(20):
        scene = jitter_scene(face, SMALL)
        assert scene.glasses is None and scene.occluders == () and scene.camera.field == SMALL.frame.field


def test_a_layout_without_vertices_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "layout.json"
    for content in ("{", "{}", '{"ict_vertex": [1, 2]}', "[]"):
        file.write_text(content)
        with pytest.raises(DataError, match=r"layout\.json"):
            mesh_vertices(file)
    with pytest.raises(DataError, match="ict_vertex"):
        mesh_vertices(tmp_path / "missing.json")


@pytest.fixture(scope="module")
def clips(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[RenderedClip], Path, Path]:
    data = shared / "data"
    if not (data / "ict" / "ict_model.npz").exists():
        pytest.skip(f"no ICT-FaceKit model in {data / 'ict'}")
    try:
        open_context().release()
    except DataError as e:
        pytest.skip(str(e))
    folder = tmp_path_factory.mktemp("clips")
    return clips_of(SMALL, data, folder, lambda _: None), data, folder


def test_a_step_shifts_every_landmark_alike(clips: tuple[list[RenderedClip], Path, Path]) -> None:
    step = clips[0][0]
    for positions in step.landmarks.values():
        assert np.isfinite(positions).all()
        moved = positions[-1] - positions[0]
        np.testing.assert_allclose(moved, np.broadcast_to([8.0, 0.0], moved.shape), atol=1e-6)


def test_a_blink_shuts_the_eyes_and_moves_nothing_else(clips: tuple[list[RenderedClip], Path, Path]) -> None:
    points = clips[0][1].landmarks["lm68"]
    lids = np.linalg.norm(points[:, [37, 44]] - points[:, [41, 46]], axis=-1).mean(1)
    assert lids.min() < 0.5 * lids[0]
    np.testing.assert_allclose(points[:, 30], np.broadcast_to(points[0, 30], (len(points), 2)), atol=0.2)


def test_the_picture_moves_with_the_landmarks_and_noise_is_new_in_every_frame(
    clips: tuple[list[RenderedClip], Path, Path],
) -> None:
    step = clips[0][0]
    first, second, last = (step.frames[i].astype(float) for i in (0, 1, -1))
    x, y = step.landmarks["lm68"][0].min(0).astype(int), step.landmarks["lm68"][0].max(0).astype(int)
    face = np.s_[x[1] : y[1], x[0] : y[0]]
    shifted = np.s_[x[1] : y[1], x[0] + 8 : y[0] + 8]
    assert np.abs(first[face] - last[shifted]).mean() < 0.6 * np.abs(first[face] - last[face]).mean()
    assert 1 < (first - second).std() < 12


def test_what_is_stored_is_not_rendered_again(
    clips: tuple[list[RenderedClip], Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, data, folder = clips

    def refuse(*_: Any) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(rendering, "Renderer", refuse)
    again = clips_of(SMALL, data, folder, lambda _: None)
    assert [clip.name for clip in again] == [clip.name for clip in made]
    fields: dict[str, Any] = json.loads(SMALL.model_dump_json())
    fields["noise"]["read"] += 1
    with pytest.raises(AssertionError, match="rendered again"):
        clips_of(JitterProtocol.model_validate_json(json.dumps(fields)), data, folder, lambda _: None)
