"""Rendering: the picture is where the projection says, and a vertex is visible where it is seen."""

from __future__ import annotations

import builtins
from dataclasses import replace

import numpy as np
import pytest

from qlot.training.data.clip import DataError
from qlot.training.data.synthetic import ict
from qlot.training.data.synthetic.camera import Camera, to_camera
from qlot.training.data.synthetic.motion import FaceState
from qlot.training.data.synthetic.renderer import Renderer, open_context
from qlot.training.data.synthetic.scene import Background, Looks, Occluder, Scene

BALD = Looks(hairline=18, hair_volume=0)
GREEN = (0.0, 1.0, 0.0)
SCENE = Scene(looks=BALD, camera=Camera(field=40), background=Background("plain", (GREEN, GREEN, GREEN)))
LIPS, LEFT_EYE = slice(48, 60), slice(42, 48)  # of the 68


def head_rows(rgb: np.ndarray) -> tuple[float, float, float]:
    """Return the head's upper, left and right edge above the chin, sub-pixel: where half a pixel's worth is covered."""
    covered = 1 - (rgb[..., 1].astype(float) - rgb[..., 0]).clip(0) / 255  # 1 on skin, 0 on the green behind
    upper = covered[: len(rgb) // 2]
    columns, rows = upper.max(0), upper.max(1)
    left, right = np.flatnonzero(columns > 0.9)[[0, -1]]
    top = np.flatnonzero(rows > 0.9)[0]
    return top - 0.5 - rows[top - 1], left - 0.5 - columns[left - 1], right + 0.5 + columns[right + 1]


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0), (20.0, -8.0, 12.0)])
def test_the_heads_outline_is_where_the_vertices_project(renderer: Renderer, rotation: tuple[float, ...]) -> None:
    state = FaceState(rotation=(rotation[0], rotation[1], rotation[2]), shift=(1.3, 14.0))
    frame = renderer.render(SCENE, state)
    skin = np.arange(ict.HEAD_AND_NECK.stop)
    pixels = frame.project(skin)
    pixels = pixels[pixels[:, 1] < 63]
    top, left, right = head_rows(frame.rgb)
    assert top == pytest.approx(pixels[:, 1].min(), abs=0.5)
    assert left == pytest.approx(pixels[:, 0].min(), abs=0.5)
    assert right == pytest.approx(pixels[:, 0].max(), abs=0.5)


def test_a_shift_by_whole_pixels_shifts_the_picture(renderer: Renderer) -> None:
    """To the rounding of the sums in the shader; half a pixel, the control, changes edges by tens of grey levels."""
    still, moved, half = (
        renderer.render(SCENE, FaceState(shift=s)).rgb.astype(int) for s in ((0, 0), (5, -3), (5.5, -3))
    )
    inner = still[10:-10, 10:-10]
    assert np.abs(moved[7:-13, 15:-5] - inner).mean() < 0.1
    assert np.abs(half[7:-13, 15:-5] - inner).mean() > 0.5


def test_depth_is_the_distance_of_what_is_seen(renderer: Renderer) -> None:
    frame = renderer.render(SCENE, FaceState(rotation=(15, 0, 0)))
    face = np.arange(ict.FACE.stop)
    seen = face[frame.unhidden(face)]
    assert len(seen) > 2000
    column, row = np.floor((frame.project(seen) + 0.5) * 2).astype(int).T
    away = frame.depth[row, column] + to_camera(frame.positions[seen], frame.state, SCENE.camera)[:, 2]
    assert np.abs(np.median(away)) < 0.05 and np.percentile(np.abs(away), 95) < 0.5  # cm


def test_the_far_side_and_what_is_covered_are_not_visible(renderer: Renderer) -> None:
    points = renderer.model.lm68
    turned = renderer.render(SCENE, FaceState(rotation=(50, 0, 0)))  # nose to the right: his left side is far
    assert turned.unhidden(points[[0, 1, 2, 3, 36, 31]]).all()
    assert not turned.unhidden(points[[13, 14, 15, 16]]).any()
    lips = renderer.render(SCENE, FaceState()).project(points[LIPS]).mean(0) / 128
    patch = Occluder("ellipse", (float(lips[0]), float(lips[1])), (0.1, 0.06), 0, (GREEN, GREEN))
    covered = renderer.render(replace(SCENE, occluders=(patch,)), FaceState())
    assert not covered.uncovered(points[LIPS]).any() and covered.uncovered(points[LEFT_EYE]).all()
    assert covered.unhidden(points[[48, 54, 57]]).all() and not covered.visible(points[LIPS]).any()
    away = renderer.render(SCENE, FaceState(shift=(500.0, 0.0)))
    assert not away.visible(points).any()  # out of the picture


def test_features_are_painted_where_landmarks_are(renderer: Renderer) -> None:
    """Lips redder than cheeks, pupils and brows darker: what a landmark network looks for."""
    close = replace(SCENE, camera=Camera(field=22), looks=replace(BALD, blotches=0.0, gloss=0.0))
    wide = renderer.model.weights(eyeWide=0.6)
    frame = renderer.render(close, FaceState(expression=wide))

    def at(indices: list[int] | np.ndarray) -> np.ndarray:
        column, row = np.rint(frame.project(np.asarray(indices))).astype(int).T
        return frame.rgb[row, column].astype(float).mean(0)

    left = ict.EYEBALLS[0]
    pupil = left.start + int(renderer.model.neutral[left, 2].argmax())
    points = renderer.model.lm68
    cheek = at([_nearest(renderer, (5.0, -1.0, 9.0))])
    lower_lip = (renderer.model.neutral[points[57]] + renderer.model.neutral[points[66]]) / 2
    lip = at([_nearest(renderer, tuple(lower_lip))])
    assert lip[0] - lip[1] > cheek[0] - cheek[1] + 10
    assert at([pupil]).mean() < 0.4 * cheek.mean()
    assert at(points[[18, 19, 20, 23, 24, 25]]).mean() < 0.75 * cheek.mean()


def _nearest(renderer: Renderer, place: tuple[float, ...]) -> int:
    away = np.linalg.norm(renderer.model.neutral[ict.FACE] - place, axis=1)
    return int(away.argmin())


def test_the_same_scene_renders_the_same_whatever_came_before(renderer: Renderer) -> None:
    first = renderer.render(SCENE, FaceState()).rgb
    renderer.render(replace(SCENE, looks=Looks(long_hair=10)), FaceState(rotation=(30, 0, 0)))
    with Renderer(renderer.model, 64) as other:
        assert other.render(SCENE, FaceState()).rgb.shape == (64, 64, 3)
    assert (renderer.render(SCENE, FaceState()).rgb == first).all()


def test_what_is_missing_to_render_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        @staticmethod
        def create_context(**_: object) -> None:
            raise Exception("libEGL.so not loaded")

    real = builtins.__import__

    def instead(name: str, *args: object, **rest: object) -> object:
        return Broken if name == "moderngl" else real(name, *args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", instead)
    with pytest.raises(DataError, match="libegl1 libgl1-mesa-dri"):
        open_context()
