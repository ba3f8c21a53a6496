from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from qlot.training.data.clip import Clip, Image
from qlot.training.evaluation.faceless import HOLD, KINDS, false_acquisitions, reacquisition, user_frames
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.subject import ReadyNetwork
from tests.runtime.disc import scene
from tests.training.evaluation.made import disc_clip, disc_network

PROTOCOL = EvaluationProtocol()


def still(_: int) -> tuple[float, float, float]:
    return 80.0, 60.0, 18.0


def blank(clip: Clip, network: ReadyNetwork, rng: np.random.Generator) -> Iterator[Image]:
    """Hide the disc for good: the tracker of the tests takes red blotches for one."""
    for _ in clip.frames:
        yield scene(0, 0, 0)


def red(frame: np.ndarray) -> float:
    """Pixels that the disc tracker sees."""
    values = frame.astype(np.float64)
    return float((values[..., 0] - values[..., 1] > 180).sum())


@pytest.mark.parametrize("kind", list(KINDS))
def test_made_frames_have_the_clips_size_and_are_repeatable(kind: str) -> None:
    clip = disc_clip(4, still)
    made = [list(KINDS[kind](clip, disc_network(), np.random.default_rng(3))) for _ in range(2)]
    assert len(made[0]) == 4
    for frame, again, original in zip(*made, clip.frames, strict=True):
        assert frame.shape == original.shape and frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, again)
        assert (frame != original).any()


def test_the_patch_hides_the_face_and_leaves_the_surroundings() -> None:
    clip = disc_clip(3, lambda t: (80.0 + 5 * t, 60.0, 10.0))
    for t, frame in enumerate(KINDS["face covered"](clip, disc_network(), np.random.default_rng(0))):
        changed = np.argwhere((frame != clip.frames[t]).any(-1))
        (top, left), (bottom, right) = changed.min(0), changed.max(0)
        half = 0.55 * 4.8 * 10
        assert left == pytest.approx(80 + 5 * t - half, abs=1.5) and right == pytest.approx(80 + 5 * t + half, abs=1.5)
        assert top == pytest.approx(60 - half, abs=1.5) and bottom == pytest.approx(60 + half, abs=1.5)


def test_shuffled_tiles_hold_the_same_pixels_in_one_order_for_all_frames() -> None:
    clip = disc_clip(2, still)
    frames = list(KINDS["tiles shuffled"](clip, disc_network(), np.random.default_rng(0)))
    np.testing.assert_array_equal(frames[0], frames[1])
    assert red(frames[0]) == pytest.approx(red(clip.frames[0]), rel=0.2)


def test_no_face_is_found_where_there_is_none_and_one_where_there_is() -> None:
    empty = [scene(0, 0, 0)] * 40
    found = false_acquisitions("blank", disc_network(), PROTOCOL, [empty, empty])
    assert (found.frames, found.acquisitions, found.per_1000_frames, found.phantom_frames) == (80, 0, 0, 0)
    faces = [scene(80, 60, 25)] * 40
    found = false_acquisitions("faces", disc_network(), PROTOCOL, [faces, faces])
    assert found.acquisitions == 2 and found.per_1000_frames == 25 and found.phantom_frames > 0.5


def test_a_face_found_twice_counts_twice() -> None:
    face, empty = [scene(80, 60, 25)] * 40, [scene(0, 0, 0)] * 40
    assert false_acquisitions("both", disc_network(), PROTOCOL, [[*face, *empty, *face]]).acquisitions == 2


def test_a_face_that_comes_back_is_found_and_timed() -> None:
    clip = disc_clip(90, still)
    result = reacquisition(disc_network(), PROTOCOL, clip, np.random.default_rng(0), blank)
    assert result.let_go and result.frames is not None and result.frames < 30
    assert result.milliseconds == pytest.approx(result.frames * 40)


def test_a_face_that_does_not_come_back_is_not_found() -> None:
    clip = disc_clip(60, lambda t: (80.0, 60.0, 18.0 if t < 20 else 0.0))
    result = reacquisition(disc_network(), PROTOCOL, clip, np.random.default_rng(0), blank)
    assert result.frames is None and result.milliseconds is None


def test_pictures_of_a_folder_are_held(tmp_path: Path) -> None:
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30, 3), 100 * i, np.uint8))
    frames = list(user_frames(tmp_path))
    assert len(frames) == 2 * HOLD
    assert frames[HOLD - 1].max() == 0 and frames[HOLD].min() == 100


def test_a_tracker_that_never_lets_go_is_told_apart() -> None:
    def unhidden(clip: Clip, network: ReadyNetwork, rng: np.random.Generator) -> Iterator[Image]:
        yield from clip.frames

    result = reacquisition(disc_network(), PROTOCOL, disc_clip(60, still), np.random.default_rng(0), unhidden)
    assert (result.let_go, result.frames) == (False, 0)
