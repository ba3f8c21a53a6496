"""Scenes: plain numbers that survive storing, drawn over all looks, with backgrounds and occluders where they say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from qlot.training.data.clip import DataError
from qlot.training.data.synthetic.background import background, occlude, srgb_colour, to_srgb
from qlot.training.data.synthetic.paint import Material, hair_depth, polyline_distance
from qlot.training.data.synthetic.props import Prop, ellipsoid, glasses, tube
from qlot.training.data.synthetic.random_scene import random_scene
from qlot.training.data.synthetic.renderer import vertex_normals
from qlot.training.data.synthetic.scene import Background, Glasses, Occluder, scene_from_json, scene_to_json

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


@pytest.mark.parametrize("seed", range(12))
def test_a_scene_survives_storing(seed: int) -> None:
    scene = random_scene(seed, [Path("room.jpg")])
    assert scene_from_json(scene_to_json(scene), "here") == scene
    assert random_scene(seed, [Path("room.jpg")]) == scene != random_scene(seed + 1, [Path("room.jpg")])


def test_what_is_not_a_scene_is_refused() -> None:
    with pytest.raises(DataError, match=r"scene_7\.npz: the scene is not readable"):
        scene_from_json('{"looks": 3}', "scene_7.npz")


def test_random_people_cover_light_and_dark_skin() -> None:
    skin = np.array([srgb_colour(random_scene(seed).looks.skin) for seed in range(200)])
    brightness = skin.mean(1)
    assert brightness.min() < 0.2 and brightness.max() > 0.75
    counts, _ = np.histogram(brightness, 4, (0.1, 0.9))
    assert counts.min() > 20  # no part of the range is rare
    assert (skin[:, 0] > skin[:, 2]).all()  # skin is warmer than grey


def test_srgb_is_the_standards_curve() -> None:
    np.testing.assert_allclose(to_srgb(np.array([0, 0.0031308, 0.2140411, 1])), [0, 0.04045, 0.5, 1], atol=1e-5)


def test_backgrounds_are_what_they_are_called(tmp_path: Path) -> None:
    plain = background(Background("plain", (RED, BLUE, BLUE)), 16)
    assert (plain == (255, 0, 0)).all()
    ramp = background(Background("gradient", (RED, BLUE, BLUE)), 16)
    assert ramp[0, 0].tolist() == [255, 0, 0] and ramp[-1, 0].tolist() == [0, 0, 255]
    checker = background(Background("checker", (RED, BLUE, BLUE), cells=4), 16)
    assert {tuple(c) for c in checker.reshape(-1, 3).tolist()} == {(255, 0, 0), (0, 0, 255)}
    one, other = (background(Background("blotches", (RED, BLUE, RED), seed=s), 16) for s in (1, 2))
    assert (one != other).any()
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (0, 0, 255)  # OpenCV's red, in the middle that is kept
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    assert (background(Background("picture", path=str(tmp_path / "wide.png")), 16) == (255, 0, 0)).all()
    with pytest.raises(DataError, match=r"gone\.png"):
        background(Background("picture", path=str(tmp_path / "gone.png")), 16)


def test_an_occluder_covers_what_it_is_drawn_over_and_sways() -> None:
    grey = np.full((100, 100, 3), 128, np.uint8)
    box = Occluder("rectangle", (0.5, 0.5), (0.1, 0.2), 0, (RED, RED), sway=(0.2, 0.0), rate=1.0)
    picture, covered = occlude(grey, (box,), 0.0)
    rows, columns = np.nonzero(covered)
    np.testing.assert_allclose((columns.min(), columns.max(), rows.min(), rows.max()), (40, 59, 30, 69), atol=1)
    assert (picture[32:68, 42:58] == (255, 0, 0)).all()
    assert (picture[0, 0] == 128).all() and grey[50, 50, 1] == 128  # the given picture is left alone
    _, later = occlude(grey, (box,), 0.25)  # a quarter turn: at its rightmost
    np.testing.assert_allclose(np.nonzero(later)[1].mean() - columns.mean(), 20, atol=0.5)
    none, nothing = occlude(grey, (), 0.0)
    assert none is grey and not nothing.any()


@pytest.mark.parametrize("kind", ["ellipse", "hand"])
def test_other_occluders_cover_part_of_their_box(kind: str) -> None:
    made = Occluder(kind, (0.5, 0.5), (0.15, 0.15), 30, (RED, BLUE))  # type: ignore[arg-type]
    _, covered = occlude(np.zeros((100, 100, 3), np.uint8), (made,), 0.0)
    assert covered[50, 50] and 300 < covered.sum() < 2500 and not covered[:, 0].any()


def outwards(prop: Prop, centre: np.ndarray) -> np.ndarray:
    return ((prop.positions - centre) * prop.normals).sum(1)


def test_props_are_closed_and_face_outwards() -> None:
    ball = ellipsoid((1, 2, 3), (4, 5, 6), Material.PLAIN, RED)
    assert (outwards(ball, np.array([1, 2, 3])) > 0).all()
    np.testing.assert_allclose((((ball.positions - (1, 2, 3)) / (4, 5, 6)) ** 2).sum(1), 1)
    path = np.array([[0.0, 0, 0], [1, 0, 0], [2, 1, 0]])
    pipe = tube(path, 0.2, RED, closed=False)
    np.testing.assert_allclose(polyline_distance(pipe.positions, path), 0.2, atol=0.09)
    assert pipe.triangles.max() == len(pipe.positions) - 1


def test_glasses_sit_before_the_eyes() -> None:
    points = np.zeros((68, 3))
    points[:, 2] = 9.0
    points[36:42] = (-3.2, 3.6, 9)
    points[42:48] = (3.2, 3.6, 9)
    points[0], points[16] = (-8, 3, 0), (8, 3, 0)
    parts = glasses(Glasses(), points)
    assert len(parts) == 5  # rims, temples, bridge
    everything = np.concatenate([part.positions for part in parts])
    rims = np.concatenate([parts[0].positions, parts[2].positions])
    assert rims[:, 2].min() > 7.5 and everything[:, 2].min() < 0.5  # the temples reach back
    np.testing.assert_allclose(everything[:, 0].max(), -everything[:, 0].min(), atol=0.3)


def test_hair_grows_above_its_line_and_on_the_back_of_the_head() -> None:
    crown, forehead, chin, back = (0, 13, 0), (0, 7.0, 9), (0, -8, 9), (0, 3, -8)
    mesh = np.array([crown, forehead, chin, back], float)
    assert (hair_depth(mesh, 9, 0, 0) > 0).tolist() == [True, False, False, True]
    assert not (hair_depth(mesh, 18, 0, 0) > 0)[1:3].any()
    assert hair_depth(mesh, 6, 0, 0)[1] > 0  # a fringe


def test_normals_of_a_flat_and_a_round_mesh() -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 5, 5]])
    flat = vertex_normals(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    np.testing.assert_allclose(flat[:4], [[0, 0, 1]] * 4)
    assert (flat[4] == 0).all()  # belongs to no triangle
