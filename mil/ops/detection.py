"""Picking boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qlot.mil.registry import computes


@computes("non_maximum_suppression")
def _non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    *,
    iou_threshold: float,
    score_threshold: float | None = None,
    max_boxes: int,
    per_class_suppression: bool = False,
) -> tuple[Tensor, ...]:
    """Boxes are (x, y, width, height) about their centres; a box counts for its best class.

    Since iOS 17 there is no `score_threshold`, boxes and scores have their boxes last, and no number is returned.
    Where no score passes the threshold the best box is returned all the same, as in coremltools' tests. Free places
    are 0, their indices -1.
    """
    newer = score_threshold is None
    if newer:
        boxes, scores = boxes.mT, scores.mT
    least = -math.inf if score_threshold is None else score_threshold
    images = [
        _kept(b, s, iou_threshold, least, max_boxes, per_class_suppression) for b, s in zip(boxes, scores, strict=True)
    ]
    indices = torch.full((len(images), max_boxes), -1)
    for row, kept in zip(indices, images, strict=True):
        row[: len(kept)] = torch.tensor(kept)
    taken = (indices >= 0)[..., None]
    rows = torch.arange(len(images))[:, None]
    picked, chances = (torch.where(taken, v[rows, indices], 0.0) for v in (boxes, scores))
    if newer:
        return picked.mT, chances.mT, indices
    return picked, chances, indices, torch.tensor([len(kept) for kept in images])


def _kept(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, most: int, per_class: bool
) -> list[int]:
    best, classes = scores.max(-1)
    overlap = _overlap(boxes)
    kept: list[int] = []
    for i in best.argsort(descending=True, stable=True).tolist():
        if len(kept) == most or best[i] <= score_threshold:
            break
        rivals = [k for k in kept if not per_class or classes[k] == classes[i]]
        if not any(overlap[i, k] > iou_threshold for k in rivals):
            kept.append(i)
    return kept or [int(best.argmax())]


def _overlap(boxes: Tensor) -> Tensor:
    """Return intersection over union of each pair, (N, N); 0 for boxes without an area."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    low, high = centre - half, centre + half
    sides = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0)
    shared = sides.prod(-1)
    area = (high - low).prod(-1)
    union = area[:, None] + area - shared
    return torch.where(union > 0, shared / union, 0.0)
