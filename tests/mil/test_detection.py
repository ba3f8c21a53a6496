from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.mil import build

# The second overlaps the first by 0.6 of their union and is of its class; the third does, of another class.
BOXES = np.float32([[[5, 5, 4, 4], [6, 5, 4, 4], [5, 6, 4, 4], [20, 5, 4, 4], [30, 5, 4, 4]]])
SCORES = np.float32([[[0.1, 0.9], [0.2, 0.8], [0.7, 0.3], [0.4, 0.5], [0.05, 0.1]]])


def pick(most: int, threshold: float = 0.2, per_class: bool = False) -> list[np.ndarray]:
    return build.run_op(
        "non_maximum_suppression", {"boxes": BOXES, "scores": SCORES}, build.ct.target.iOS16,
        iou_threshold=np.float32(0.5), score_threshold=np.float32(threshold), max_boxes=most,
        per_class_suppression=per_class,
    )  # fmt: skip


@pytest.mark.parametrize(("per_class", "kept"), [(False, [0, 3]), (True, [0, 2, 3])])
def test_the_best_of_overlapping_boxes_is_kept(per_class: bool, kept: list[int]) -> None:
    boxes, scores, indices, count = pick(4, per_class=per_class)
    free = 4 - len(kept)
    assert count.tolist() == [len(kept)]
    assert_array_equal(indices, [kept + [-1] * free])
    assert_allclose(boxes[0], np.concatenate([BOXES[0, kept], np.zeros((free, 4))]))
    assert_allclose(scores[0], np.concatenate([SCORES[0, kept], np.zeros((free, 2))]))


def test_no_more_than_asked_for_and_never_none() -> None:
    assert pick(1)[2].tolist() == [[0]]
    *_, indices, count = pick(2, threshold=1.5)
    assert (indices.tolist(), count.tolist()) == ([[0, -1]], [1])


def test_since_ios_17_boxes_come_last() -> None:
    feeds = {"boxes": BOXES.swapaxes(1, 2).copy(), "scores": SCORES.swapaxes(1, 2).copy()}
    boxes, scores, indices = build.run_op("non_maximum_suppression", feeds, iou_threshold=np.float32(0.5), max_boxes=4)
    assert indices.tolist() == [[0, 3, 4, -1]]
    assert_allclose(boxes[0, :, :3], BOXES[0, [0, 3, 4]].T)
    assert_allclose(scores[0, :, :3], SCORES[0, [0, 3, 4]].T)
