"""Where the 68 labels have the points of jaw, brows and nose: beside the canonical points that stand for them.

The labels of a data set follow a convention of their own: the ears' end of a jaw lies a sixth of the outer-eye distance
above the point of the same name on the canonical face. `python -m qlot.training.tools.label_convention` fits what lies
between, mirror-symmetric, so that an offset of all labels to one side drops out.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from qlot.model.layout import Layout, load_layout
from qlot.training.data.clip import Array

LABELLED: Final = "ibug68"
GROUPS: Final = ("jaw", "right_brow", "left_brow", "nose")
TABLE: Final = Path(__file__).with_name("label_convention.json")


def as_labelled(layout: Layout) -> Array:
    """Return (N, 3) of a layout's canonical points where labels of pictures have them.

    A point of `GROUPS` moves as the two points of the same group that are nearest to it in the 68.
    """
    labelled, moves = load_layout(LABELLED), _moves()
    points = layout.points.copy()
    for group in GROUPS:
        rows = list(labelled.groups[group])
        for i in layout.groups.get(group, ()):
            apart = np.linalg.norm(labelled.points[rows] - layout.points[i], axis=1)
            near = np.argsort(apart)[:2]
            weights = 1 / np.maximum(apart[near], 1e-6) ** 2
            points[i] += weights @ moves[np.array(rows)[near]] / weights.sum()
    return points


@cache
def _moves() -> Array:
    """Return (68, 3), canonical units; 0 outside `GROUPS`."""
    return np.array(json.loads(TABLE.read_text(encoding="utf-8"))["moves"])
