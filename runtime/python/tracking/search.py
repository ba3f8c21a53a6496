"""Where to look for a face without a detector: an ordered, endless list of candidate crops.

After a loss the crops around the last one come first; then a scan of the frame from large to small crops, each size
from the middle outwards, with one of those around the last in between; then all of it again. The order depends on the
frame's size, the last crop and the constants only. A promising candidate is followed up: its own fitted crop is looked
at before the list goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from qlot.runtime.bundle.manifest import TrackingSpec
from qlot.runtime.geometry import CropBox


@dataclass(frozen=True)
class Search:
    """A place in the list, and the follow-ups in front of it."""

    candidates: tuple[CropBox, ...]
    passed: int = 0  # candidates of the list that were no face, counted on from round to round
    follow_up: CropBox | None = None
    in_a_row: int = 0  # follow-ups up to here

    @property
    def candidate(self) -> CropBox:
        """The crop to look at next."""
        return self.follow_up or self.candidates[self.passed % len(self.candidates)]

    def after_failure(self, refined: CropBox | None, most: int) -> Search:
        """Return the search after its candidate was no face.

        Args:
            refined: the candidate's fitted crop if it was promising.
            most: follow-ups allowed in a row.
        """
        passed = self.passed if self.follow_up else self.passed + 1
        if refined and self.in_a_row < most:
            return Search(self.candidates, passed, refined, self.in_a_row + 1)
        return Search(self.candidates, passed)


def start_search(width: int, height: int, spec: TrackingSpec, last: CropBox | None = None) -> Search:
    """Begin to search an upright frame of the given size, around the last crop time and again if there is one."""
    scan = list(_scan(width, height, spec))
    if last is None:
        return Search(tuple(scan))
    around = [CropBox(last.center_x, last.center_y, last.side * share) for share in spec.search_around]
    candidates = list(around)
    for i, start in enumerate(range(0, len(scan), spec.search_revisit)):
        candidates += [*scan[start : start + spec.search_revisit], around[i % len(around)]]
    return Search(tuple(candidates))


Size = tuple[int, int]  # height and width of an upright frame


def go_on(search: Search, old: Size, new: Size, spec: TrackingSpec, last: CropBox | None) -> Search:
    """Return a search at the same place of its list, for frames that were of the old size and are now of the new one.

    Args:
        search: as it was in frames of the old size.
        old: the size until now.
        new: the size from now on.
        spec: the tracker's constants.
        last: the last crop in frames of the new size, or None.
    """
    fresh = start_search(new[1], new[0], spec, last)
    return replace(fresh, passed=search.passed, follow_up=scaled(search.follow_up, old, new), in_a_row=search.in_a_row)


def scaled(box: CropBox | None, old: Size, new: Size) -> CropBox | None:
    """Return where a crop of an old frame lies in a new one, if the new one shows the same, larger or smaller."""
    if box is None:
        return None
    down, right = new[0] / old[0], new[1] / old[1]
    x, y = box.center_x * right + (right - 1) / 2, box.center_y * down + (down - 1) / 2
    return CropBox(x, y, box.side * (min(new) / min(old)))


def _scan(width: int, height: int, spec: TrackingSpec) -> Iterator[CropBox]:
    for share in spec.search_sides:
        side = share * min(width, height)
        xs, ys = (_places(length, side, spec.search_stride) for length in (width, height))
        # rings around the middle, each by row, then column: integers, so that every runtime sorts alike
        rings = [
            (max(abs(2 * column - len(xs) + 1), abs(2 * row - len(ys) + 1)), row, column)
            for row in range(len(ys))
            for column in range(len(xs))
        ]
        if min(rings)[0] > 0:  # an even number of columns or rows leaves the likeliest place out
            yield CropBox((width - 1) / 2, (height - 1) / 2, side)
        for _, row, column in sorted(rings):
            yield CropBox(xs[column], ys[row], side)


def _places(length: int, side: float, stride: float) -> list[float]:
    """Centres along one axis: the outermost crops touch the frame's edges, the others lie evenly between them."""
    room = max(length - side, 0.0)
    gaps = math.ceil(room / (stride * side))
    middle = (length - 1) / 2
    return [middle + room * (i / gaps - 0.5) for i in range(gaps + 1)] if gaps else [middle]
