"""Labels of any layout from a teacher's: points on the teacher's contours, and what lies off them carried by the pose.

A network that is taught the teacher's points alone has to guess all others from the encoding of their queries: a jaw
between contour points became a saw-tooth. So every landmark of a layout gets the nearest place on the teacher's lines
(a line's two ends and how far between, or a single point), all measured on the canonical face. What is left between
the two there, a few percent of the outer-eye distance, is turned and scaled as the teacher's face is in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qlot.model.layout import Layout
from qlot.training.data.clip import Array


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
    def between(cls, teacher: Layout, points: Array) -> Self:
        """Find the nearest places of canonical points (M, 3) on a teacher's edges and points."""
        alone = np.arange(len(teacher.points))
        edges = np.concatenate([np.stack([alone, alone], 1), np.array(teacher.edges, np.int64).reshape(-1, 2)])
        start, along = teacher.points[edges[:, 0]], teacher.points[edges[:, 1]] - teacher.points[edges[:, 0]]
        offset = points[:, None] - start
        share = (offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
        share = share.clip(0, 1)  # (M, E)
        rest = offset - share[..., None] * along
        nearest = np.linalg.norm(rest, axis=-1).argmin(1)
        rows = np.arange(len(points))
        return cls(edges[nearest], share[rows, nearest], rest[rows, nearest], teacher.points)

    def __call__(self, landmarks: Array) -> Array:
        """Return (L, M, 2) pixels from a teacher's landmarks (L, N, 2); not a number where the teacher has none."""
        first, second = landmarks[:, self.ends[:, 0]], landmarks[:, self.ends[:, 1]]
        placed = first + self.share[:, None] * (second - first)
        return placed + np.stack([self.rest @ pose for pose in map(self._pose, landmarks)])

    def _pose(self, landmarks: Array) -> Array:
        """Fit (3, 2), canonical directions to pixels, to one frame's landmarks (N, 2)."""
        known = np.isfinite(landmarks).all(-1)
        if known.sum() < 4:
            return np.full((3, 2), np.nan)
        canonical = np.column_stack([self.canonical[known], np.ones(known.sum())])
        return np.linalg.lstsq(canonical, landmarks[known], rcond=None)[0][:3]
