"""Looks of the teacher: whatever it is shown, its answer is put back where it belongs; tracks are smoothed in place."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from qlot.model.layout import load_layout
from qlot.training.data.clip import DataError

pytest.importorskip("ai_edge_litert", reason="needs the extra tflite or dev")
from qlot.training.tools.teacher import LOOKS, SIZE, looks, network, smoothed

MIRROR = np.array(load_layout("mediapipe478").mirror)


@pytest.mark.parametrize("enlarged", [1, 3])
def test_every_look_is_mapped_back(enlarged: int) -> None:
    """A picture whose colours are its coordinates: where an answer is put, the picture has what the crop had there."""
    side = 256 * enlarged
    y, x = np.mgrid[0:side, 0:side]
    picture = np.stack([x // enlarged, y // enlarged, 0 * x], -1).astype(np.uint8)
    random = np.random.default_rng(0)
    about = random.normal(side / 2, side / 14, (478, 2))
    at, seen = random.integers(60, SIZE - 60, (478, 2)), list[np.ndarray]()

    def run(crop: np.ndarray) -> np.ndarray:
        seen.append(crop[at[:, 1], at[:, 0], :2].astype(float))
        return at.astype(float)

    found = looks(run, picture, about)
    assert found.shape == (2 * len(LOOKS), 478, 2)
    for k, look in enumerate(found):
        shown = seen[k][MIRROR] if k % 2 else seen[k]
        inside = (shown > 20).all(1) & (shown < 235).all(1)
        assert inside.sum() > 200
        np.testing.assert_allclose(((look + 0.5) / enlarged - 0.5)[inside], shown[inside], atol=1.2)


def test_smoothing_keeps_a_parabola_and_lags_nowhere() -> None:
    t = np.arange(30.0)[:, None, None]
    track = np.concatenate([t**2, 3 * t], -1)
    np.testing.assert_allclose(smoothed(track), track, atol=1e-9)
    noisy = track + np.random.default_rng(0).normal(0, 1, track.shape)
    assert (smoothed(noisy) - track)[2:-2].std() < 0.8 * (noisy - track)[2:-2].std()
    np.testing.assert_array_equal(smoothed(track[:3]), track[:3])


def test_no_task_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"other.task: no FaceLandmarker task file"):
        network(tmp_path / "other.task")
    with zipfile.ZipFile(tmp_path / "empty.task", "w"):
        pass
    with pytest.raises(DataError, match="no FaceLandmarker task file"):
        network(tmp_path / "empty.task")


def test_the_network_finds_the_eyes_of_a_face(shared: Path) -> None:
    from qlot.training.data.sources.stills import LabelledFaces

    faces = LabelledFaces(shared / "data/faces/faces_new_train", "mediapipe478")
    about = faces.landmarks[1000].astype(float)
    found = looks(network(shared / "peers/face_landmarker.task"), faces.picture(1000), about)
    eyes = np.linalg.norm(about[33] - about[263])
    assert np.linalg.norm(found.mean(0) - about, axis=-1).mean() < 0.03 * eyes
    assert np.linalg.norm(found - found.mean(0), axis=-1).mean() < 0.02 * eyes
