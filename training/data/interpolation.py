"""Labels of any layout from a teacher's: places on the teacher's contours.

A network that is taught the teacher's points alone has to guess all others from the encoding of their queries: a jaw
between contour points became a saw-tooth. So every landmark of a layout gets the nearest place on the teacher's lines
(a line's two ends and how far between, or a single point), measured on the canonical face and, where both layouts have
a group of the same name, among that group's lines alone: a lower lip is never taken for the inner one.

Lids, lips and pupils are such places: on pictures with points placed by people, corners of eyes and mouths are 1.0 to
1.4 % of the outer-eye distance off, curves of lids 0.5 % (docs/measured/2026-11-30-eyes.md). Jaw, brows and nose are
where the 68 labels have them (`qlot.model.convention`), beside the teacher's lines: that rest is turned and scaled as
the face is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from qlot.model.convention import as_labelled
from qlot.model.layout import Layout
from qlot.training.data.clip import Array

CONVENTION: Final = "labels68"  # of jaw, brows and nose
_EXACT: Final = ("eye", "lips", "pupil", "iris")  # ends of the names of groups that are seen where the teacher has them
_SAME: Final = {"jaw": "face_oval"}  # groups that go by another name


@dataclass(frozen=True, eq=False)
class Interpolation:
    """M landmarks as places on a teacher's lines.

    Attributes:
        ends: (M, 2) of the teacher's landmarks, the same twice for a single point.
        share: (M,) of the second end, 0 to 1.
        rest: (M, 3) from that place to the landmark, canonical units.
        canonical: (N, 3) the teacher's points.
    """

    ends: NDArray[np.int64]
    share: Array
    rest: Array
    canonical: Array

    @classmethod
    def between(cls, teacher: Layout, layout: Layout) -> Self:
        """Find the places of a layout's landmarks on a teacher's edges and points."""
        points, groups = as_labelled(layout.points, CONVENTION), _groups(layout)
        alone = np.arange(len(teacher.points))
        edges = np.concatenate([np.stack([alone, alone], 1), np.array(teacher.edges, np.int64).reshape(-1, 2)])
        start, along = teacher.points[edges[:, 0]], teacher.points[edges[:, 1]] - teacher.points[edges[:, 0]]
        offset = points[:, None] - start
        share = (offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
        share = share.clip(0, 1)  # (M, E)
        rest = offset - share[..., None] * along
        distance = np.linalg.norm(rest, axis=-1)
        for name, members in groups.items():
            theirs = teacher.groups.get(_SAME.get(name, name))
            if theirs is not None:
                distance[np.ix_(np.array(members), np.flatnonzero(~np.isin(edges, theirs).all(1)))] = np.inf
                for ours, end in zip(_ends(layout, name), _ends(teacher, name), strict=True):
                    distance[ours, ~(edges == end).all(1)] = np.inf
        nearest = distance.argmin(1)
        rows = np.arange(len(points))
        rest = rest[rows, nearest]
        rest[[i for name, members in groups.items() if name.endswith(_EXACT) for i in members]] = 0
        return cls(edges[nearest], share[rows, nearest], rest, teacher.points)

    def __call__(self, landmarks: Array) -> Array:
        """Return (L, M, 2) pixels from a teacher's landmarks (L, N, 2); not a number where the teacher has none."""
        return self.places_on(landmarks) + np.stack([self.rest @ pose for pose in map(self.pose, landmarks)])

    def places_on(self, landmarks: Array) -> Array:
        """Return (L, M, D) of the places on a teacher's lines, from its landmarks (L, N, D)."""
        first, second = landmarks[:, self.ends[:, 0]], landmarks[:, self.ends[:, 1]]
        return np.asarray(first + self.share[:, None] * (second - first), np.float64)

    def pose(self, landmarks: Array) -> Array:
        """Fit (3, 2), canonical directions to pixels, to one frame of the teacher's landmarks (N, 2)."""
        known = np.isfinite(landmarks).all(-1)
        if known.sum() < 4:
            return np.full((3, 2), np.nan)
        canonical = np.column_stack([self.canonical[known], np.ones(known.sum())])
        return np.linalg.lstsq(canonical, landmarks[known], rcond=None)[0][:3]


def _groups(layout: Layout) -> dict[str, list[int]]:
    return {name: list(members) for name, members in layout.groups.items()}


def _ends(layout: Layout, group: str) -> list[int]:
    """Return the corners of an eye or a mouth, right then left in the canonical face; none of other groups."""
    if not group.endswith(("eye", "lips")) or group not in layout.groups:
        return []
    ring = np.array(layout.groups[group])
    x = layout.points[ring, 0]
    return [int(ring[x.argmin()]), int(ring[x.argmax()])]
