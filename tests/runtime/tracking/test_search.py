"""The search: every place and size is looked at, near the last crop first, promising ones twice."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlot.runtime.bundle.manifest import TrackingSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.search import go_on, scaled, start_search

SPEC = TrackingSpec()
sizes = st.tuples(st.integers(8, 2000), st.integers(8, 2000)).filter(lambda s: max(s) < 4 * min(s))


@given(sizes)
@settings(max_examples=50)
def test_the_scan_covers_the_frame(size: tuple[int, int]) -> None:
    """Whatever lies where a crop of a scanned size fits: some candidate of that size is near."""
    width, height = size
    for share in SPEC.search_sides:
        side = share * min(size)
        middle, *grid = [c for c in start_search(width, height, SPEC).candidates if c.side == side]
        assert (middle.center_x, middle.center_y) == ((width - 1) / 2, (height - 1) / 2)
        same = {c for c in grid if c != middle}
        xs, ys = sorted({c.center_x for c in same}), sorted({c.center_y for c in same})
        for places, length in ((xs, width), (ys, height)):
            assert places[0] - side / 2 == pytest.approx(-0.5) and places[-1] + side / 2 == pytest.approx(length - 0.5)
            assert all(b - a <= SPEC.search_stride * side + 1e-9 for a, b in pairwise(places))


def test_large_crops_and_the_middle_come_first() -> None:
    candidates = start_search(640, 360, SPEC).candidates
    assert [c.side for c in candidates] == sorted((c.side for c in candidates), reverse=True)
    smallest = [c for c in candidates if c.side == 0.33 * 360]

    def off_middle(c: CropBox) -> float:
        return max(abs(c.center_x - 319.5) / 640, abs(c.center_y - 179.5) / 360)

    assert off_middle(smallest[0]) < 0.1 < off_middle(smallest[-1])
    assert len(candidates) < 100, "three seconds at 30 frames per second and one candidate per frame"


def test_a_side_larger_than_the_frame_gives_one_candidate() -> None:
    spec = TrackingSpec(search_sides=(2.0,))
    assert start_search(40, 30, spec).candidates == (CropBox(19.5, 14.5, 60.0),)


def test_after_a_loss_the_last_crop_comes_first_and_again() -> None:
    last = CropBox(100.0, 80.0, 50.0)
    candidates = start_search(640, 360, SPEC, last).candidates
    assert candidates[:3] == tuple(CropBox(100.0, 80.0, 50.0 * s) for s in SPEC.search_around)
    near = [i for i, c in enumerate(candidates) if (c.center_x, c.center_y) == (100.0, 80.0)]
    assert max(b - a for a, b in pairwise(near)) == SPEC.search_revisit + 1
    scan = [c for c in candidates if (c.center_x, c.center_y) != (100.0, 80.0)]
    assert tuple(scan) == start_search(640, 360, SPEC).candidates, "and nothing of the scan is left out"


def test_the_list_is_endless() -> None:
    search = start_search(64, 48, SPEC)
    count = len(search.candidates)
    seen = []
    for _ in range(2 * count):
        seen.append(search.candidate)
        search = search.after_failure(None, 2)
    assert tuple(seen) == search.candidates * 2


@pytest.mark.parametrize("most", [0, 1, 2])
def test_promising_candidates_are_followed_up_so_often_and_nothing_is_skipped(most: int) -> None:
    search = start_search(64, 48, SPEC)
    refined = CropBox(30.0, 20.0, 25.0)
    seen = []
    for _ in range(3 * (most + 1)):
        seen.append(search.candidate)
        search = search.after_failure(refined, most)
    expected = [c for candidate in search.candidates[:3] for c in [candidate, *[refined] * most]]
    assert seen == expected


@given(sizes, sizes)
@settings(max_examples=30)
def test_in_frames_of_another_size_the_place_stays_and_crops_move_along(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    box = CropBox(old[1] * 0.3, old[0] * 0.7, 0.4 * min(old))
    assert scaled(box, old, old) == box and scaled(None, old, new) is None
    there = scaled(box, old, new)
    assert there is not None and there.side / min(new) == pytest.approx(box.side / min(old))
    assert (there.center_x + 0.5) / new[1] == pytest.approx((box.center_x + 0.5) / old[1])
    assert (there.center_y + 0.5) / new[0] == pytest.approx((box.center_y + 0.5) / old[0])
    search = start_search(old[1], old[0], SPEC, box)
    for _ in range(4):
        search = search.after_failure(None, 2)
    search = go_on(search.after_failure(box, 2), old, new, SPEC, there)
    fresh = start_search(new[1], new[0], SPEC, there)
    assert search.candidate == there
    search = search.after_failure(None, 2)
    assert search.candidate == fresh.candidates[5 % len(fresh.candidates)]


def test_a_follow_up_that_disappoints_ends_the_row() -> None:
    search = start_search(64, 48, SPEC).after_failure(CropBox(30.0, 20.0, 25.0), 2)
    assert search.candidate == CropBox(30.0, 20.0, 25.0)
    assert search.after_failure(None, 2).candidate == search.candidates[1]


def test_follow_ups_start_from_any_place() -> None:
    search = start_search(64, 48, SPEC)
    for _ in range(len(search.candidates) - 1):
        search = search.after_failure(None, 2)
    assert search.after_failure(CropBox(1.0, 1.0, 25.0), 2).after_failure(None, 2).candidate == search.candidates[0]
    assert math.isclose(search.candidate.side, 0.33 * 48)
