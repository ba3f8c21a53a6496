from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qlot.runtime.media.thinned import Thinned


@given(st.integers(0, 500), st.integers(1, 20))
def test_few_items_evenly_spread_and_no_others_made(count: int, least: int) -> None:
    thinned, made = Thinned[int](least), list[int]()
    for i in range(count):
        thinned.add(lambda i=i: (made.append(i), i)[1])  # type: ignore[misc]
    kept = thinned.items
    assert min(count, least) <= len(kept) <= 2 * least
    if count <= 2 * least:
        assert kept == list(range(count))
    strides = {b - a for a, b in pairwise(kept)}
    assert len(strides) <= 1 and kept[:1] == [0] * bool(count)
    assert not kept or count - 1 - kept[-1] < max(strides, default=count)
    assert len(made) <= 2 * least + least * max(count, 1).bit_length()
