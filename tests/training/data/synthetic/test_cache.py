"""The cache: whole files, the same ones from the same seed, resumed where it stopped."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from qlot.training.data.clip import DataError
from qlot.training.data.synthetic import ict
from qlot.training.data.synthetic.cache import CacheSettings, draw, read_settings, render_cache, scene_file
from qlot.training.data.synthetic.camera import project
from qlot.training.data.synthetic.motion import FaceState
from qlot.training.data.synthetic.record import Record, encode
from qlot.training.data.synthetic.renderer import Renderer
from qlot.training.data.synthetic.scene import Scene

SMALL = CacheSettings(frames=2, size=64, seed=3)


def made_up(seed: int = 0, frames: int = 3, size: int = 32) -> Record:
    rng = np.random.default_rng(seed)
    states = tuple(
        FaceState(i / 25, (1.0 * i, 2.0, 3.0), (0.1, 0.2, 0.3), (0.5, 0.25), rng.random(53)) for i in range(frames)
    )
    jpegs = tuple(encode(np.full((size, size, 3), 40 * i, np.uint8)) for i in range(frames))
    seen = rng.random((2, frames, ict.FACE.stop)) < 0.5
    return Record(Scene(identity=tuple(rng.normal(0, 1, 100).tolist())), states, 25.0, size, jpegs, seen[0], seen[1])


def test_a_record_survives_storing(tmp_path: Path) -> None:
    record = made_up()
    record.write(tmp_path / "scene.npz")
    read = Record.read(tmp_path / "scene.npz")
    assert (read.scene, read.fps, read.size, read.jpegs) == (record.scene, record.fps, record.size, record.jpegs)
    assert (read.unhidden == record.unhidden).all() and (read.uncovered == record.uncovered).all()
    for one, other in zip(read.states, record.states, strict=True):
        assert (one.time, one.rotation, one.shift) == (other.time, other.rotation, other.shift)
        assert (one.expression == other.expression).all()
    assert np.abs(read.picture(2).astype(int) - 80).max() <= 1
    assert [path.name for path in tmp_path.iterdir()] == ["scene.npz"]  # no temporary file is left


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scene.npz"
    with pytest.raises(DataError, match=r"scene\.npz: not a readable"):
        Record.read(path)
    made_up().write(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="delete it and render again"):
        Record.read(path)
    record = made_up()
    broken = Record(
        *(getattr(record, name) for name in ("scene", "states", "fps", "size")), (b"no",) * 3, *[record.unhidden] * 2
    )
    with pytest.raises(ValueError, match="frame 1"):
        broken.picture(1)


def test_a_scene_is_drawn_from_seed_and_number_alone(ict_model: ict.FaceModel) -> None:
    names = ict_model.names
    one, again, other, next_one = (draw(names, *which, []) for which in ((0, 5), (0, 5), (1, 5), (0, 6)))
    assert one[0] == again[0] and one[2:] == again[2:]
    assert one[1](3.0).rotation == again[1](3.0).rotation
    assert one[0] != other[0] and one[0] != next_one[0]


def test_a_cache_is_rendered_resumed_and_its_numbers_fit_its_pictures(
    renderer: Renderer, ict_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cache"
    assert list(render_cache(ict_path, out, 1, SMALL)) == [scene_file(out, 0)]
    stamp = scene_file(out, 0).read_bytes()
    assert list(render_cache(ict_path, out, 2, SMALL)) == [scene_file(out, 1)]  # only what is missing
    assert scene_file(out, 0).read_bytes() == stamp and read_settings(out) == SMALL
    record = Record.read(scene_file(out, 1))
    assert record.states[1].time - record.states[0].time == pytest.approx(1 / record.fps)
    with Renderer(renderer.model, 64) as small:
        frame = small.render(record.scene, record.states[1])
    assert np.abs(frame.rgb.astype(int) - record.picture(1)).mean() < 4  # JPEG
    assert (frame.unhidden(np.arange(ict.FACE.stop)) == record.unhidden[1]).all()
    rows = renderer.model.lm68
    placed = renderer.model.vertices(record.scene.identity, record.states[1].expression, rows)
    np.testing.assert_allclose(
        project(placed, record.states[1], record.scene.camera, 64), frame.project(rows), atol=1e-4
    )


def test_other_settings_do_not_mix_into_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cache.json").write_text(SMALL.model_dump_json())
    with pytest.raises(DataError, match="choose another folder"):
        next(render_cache(tmp_path / "none.npz", tmp_path, 1, CacheSettings(seed=4)))
    with pytest.raises(DataError, match=r"none\.npz"):
        next(render_cache(tmp_path / "none.npz", tmp_path, 1, SMALL))
    (tmp_path / "cache.json").write_text('{"seed": "x"}')
    with pytest.raises(DataError, match="not a cache's settings"):
        read_settings(tmp_path)
    with pytest.raises(DataError, match="render first"):
        read_settings(tmp_path / "nowhere")


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import typer
    from typer.testing import CliRunner

    from qlot.training.data.synthetic import cache

    app = typer.Typer()
    app.command()(cache._main)
    result = CliRunner().invoke(app, ["--model", str(tmp_path / "no.npz"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1 and "no such file" in result.output + result.stderr
    assert sys.exc_info() == (None, None, None)
