"""Clips from a cache of rendered faces: the window, the landmarks, and which of them count."""

from __future__ import annotations

from itertools import count as count_from
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from qlot.model.convention import as_labelled
from qlot.model.layout import load_layout
from qlot.training.data.clip import Clip, DataError
from qlot.training.data.interpolation import CONVENTION
from qlot.training.data.sources.synthetic import SHARES, VERTICES, SyntheticFaces
from qlot.training.data.synthetic import ict
from qlot.training.data.synthetic.cache import CacheSettings
from qlot.training.data.synthetic.camera import project
from qlot.training.data.synthetic.ict import FaceModel
from qlot.training.data.synthetic.motion import FaceState
from qlot.training.data.synthetic.record import Record, encode
from qlot.training.data.synthetic.scene import Scene

FRAMES, SIZE = 12, 32


@pytest.fixture(scope="module")
def model_path(shared: Path) -> Path:
    path = shared / "data" / "ict" / "ict_model.npz"
    if not path.is_file():
        pytest.skip(f"no ICT-FaceKit model at {path}")
    return path


@pytest.fixture(scope="module")
def model(model_path: Path) -> FaceModel:
    return FaceModel.load(model_path)


def record(yaw: float, seed: int) -> Record:
    """A scene without rendering: frame i is grey of level 20 i, every other vertex is hidden, every third covered."""
    rng = np.random.default_rng(seed)
    states = tuple(FaceState(i / 25, (yaw, 0.0, 2.0 * i), expression=rng.random(53) / 4) for i in range(FRAMES))
    jpegs = tuple(encode(np.full((SIZE, SIZE, 3), 20 * i, np.uint8)) for i in range(FRAMES))
    numbers = np.tile(np.arange(ict.FACE.stop), (FRAMES, 1))
    scene = Scene(identity=tuple(rng.normal(0, 1, 100).tolist()))
    return Record(scene, states, 25.0, SIZE, jpegs, numbers % 2 == 0, numbers % 3 > 0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    (folder / "cache.json").write_text(CacheSettings(frames=FRAMES, size=SIZE).model_dump_json())
    record(0.0, 0).write(folder / "scene_000000.npz")
    record(40.0, 1).write(folder / "scene_000001.npz")
    return folder


def shown(clip_frames: object) -> list[int]:
    return [round(float(np.mean(frame)) / 20) for frame in clip_frames]  # type: ignore[attr-defined]


def of_layout(source: SyntheticFaces, index: int, length: int, layout: str, count: int) -> list[Clip]:
    """The first clips of a layout; which one a clip has is drawn."""
    drawn = (source.clip(index, length, np.random.default_rng(seed)) for seed in count_from(0))
    return list(islice((clip for clip in drawn if clip.layout == layout), count))


def test_the_68_points_are_exact_and_go_with_their_frames(cache: Path, model_path: Path, model: FaceModel) -> None:
    source = SyntheticFaces(cache, model_path)
    assert len(source) == 2 and source.identity(0) != source.identity(1)
    kept = record(0.0, 0)
    strides = set()
    for clip in of_layout(source, 0, 5, "ict68", 8):
        numbers = shown(clip.frames)
        assert clip.layout == "ict68" and clip.identity == source.identity(0) and clip.queries.shape == (68, 3)
        assert clip.valid.all()  # seen from the front, also what is hidden or covered
        steps = set(np.diff(numbers).tolist())
        assert len(steps) == 1 and clip.fps == 25 / steps.copy().pop()
        strides |= steps
        for number, landmarks in zip(numbers, clip.landmarks, strict=True):
            state = kept.states[number]
            placed = model.vertices(kept.scene.identity, state.expression, model.lm68)
            exact = project(placed, state, kept.scene.camera, SIZE)
            np.testing.assert_allclose(landmarks[17:], exact[17:], atol=1e-4)
            assert 0 < np.abs(landmarks[:17] - exact[:17]).max() < SIZE / 8  # a jaw is where labels of pictures are
    assert strides == {1, 2}


def test_of_a_turned_face_the_jaw_counts_only_where_it_is_seen(cache: Path, model_path: Path, model: FaceModel) -> None:
    source = SyntheticFaces(cache, model_path)
    (clip,) = of_layout(source, 1, 3, "ict68", 1)
    everything = model.canonical(np.arange(ict.FACE.stop))
    at = as_labelled(load_layout("ibug68").points, CONVENTION)[:17]
    jaw = np.linalg.norm(everything - at[:, None], axis=-1).argmin(1)
    assert (clip.valid[:, :17] == (jaw % 2 == 0)).all() and clip.valid[:, 17:].all()


def test_random_vertices_are_of_the_face_and_count_where_they_are_seen(
    cache: Path, model_path: Path, model: FaceModel
) -> None:
    source = SyntheticFaces(cache, model_path)
    (one, other), (again,) = (of_layout(source, 0, 3, "ict", number) for number in (2, 1))
    assert one.layout == "ict" and one.landmarks.shape == (3, VERTICES, 2)
    np.testing.assert_array_equal(one.queries, again.queries)
    assert (one.queries != other.queries).any()
    assert len(np.unique(one.queries, axis=0)) == VERTICES
    everything = model.canonical(np.arange(ict.FACE.stop))
    rows = [int(np.linalg.norm(everything - query, axis=1).argmin()) for query in one.queries]
    assert all(row % 2 == 0 for row in rows)  # the others are hidden in all frames
    assert (one.valid == (np.array(rows) % 3 > 0)).all() and not one.valid.all()


def test_wflws_points_are_vertices_next_to_them_and_pupils_turn(
    cache: Path, model_path: Path, model: FaceModel
) -> None:
    layout = load_layout("wflw98")
    (clip,) = of_layout(SyntheticFaces(cache, model_path), 0, 2, "wflw98", 1)
    eyes = np.linalg.norm(layout.points[60] - layout.points[72])
    np.testing.assert_array_equal(clip.queries, layout.points)
    kept = record(0.0, 0)
    (number, _) = shown(clip.frames)
    state, camera = kept.states[number], kept.scene.camera
    everything = project(
        model.vertices(kept.scene.identity, state.expression, np.arange(ict.VERTICES)), state, camera, SIZE
    )
    chosen = np.linalg.norm(everything - clip.landmarks[0][:, None], axis=-1).argmin(1)
    away = np.linalg.norm(model.canonical(chosen) - as_labelled(layout.points, CONVENTION), axis=1)
    assert away[: layout.groups["jaw"][-1] + 1].max() < 0.08 * eyes  # the mesh is coarse at the jaw
    balls = np.concatenate([np.arange(part.start, part.stop) for part in ict.EYEBALLS])
    assert np.isin(chosen[[96, 97]], balls).all()


def test_every_layout_of_a_scene_is_drawn(cache: Path, model_path: Path) -> None:
    source, rng = SyntheticFaces(cache, model_path), np.random.default_rng(0)
    drawn = [source.clip(0, 1, rng).layout for _ in range(60)]
    assert all(abs(drawn.count(layout) / 60 - share) < 0.2 for layout, share in SHARES.items())


def test_a_clip_longer_than_its_scene_plays_back_and_forth(cache: Path, model_path: Path) -> None:
    source = SyntheticFaces(cache, model_path)
    numbers = shown(source.clip(0, 30, np.random.default_rng(0)).frames)
    assert len(numbers) == 30 and (np.abs(np.diff(numbers)) == 1).all()
    assert set(numbers) == set(range(FRAMES))


def test_what_cannot_be_used_is_named(cache: Path, model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="render first"):
        SyntheticFaces(tmp_path, model_path)
    (tmp_path / "cache.json").write_text(CacheSettings().model_dump_json())
    with pytest.raises(DataError, match="no scenes"):
        SyntheticFaces(tmp_path, model_path)
    (tmp_path / "scene_000000.npz").write_bytes(b"cut off")
    source = SyntheticFaces(tmp_path, model_path)
    with pytest.raises(DataError, match=r"scene_000000\.npz"):
        source.clip(0, 2, np.random.default_rng(0))
