from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.mil import build
from tests.mil.build import OpError

mb = build.mb
X = build.normal(4, 3)


def make(length: int, grows: bool = False) -> Any:
    return mb.make_list(init_length=length, dynamic_length=grows, elem_shape=(3,), dtype="fp32")


def test_a_loop_collects_rows() -> None:
    """What TensorFlow's recurrent layers and torch's loops over lists become."""

    def body(x: Any) -> Any:
        def step(i: Any, ls: Any) -> Any:
            row = mb.mul(x=mb.gather(x=x, indices=i, axis=0), y=np.float32(2))
            return mb.add(x=i, y=np.int32(1)), mb.list_write(ls=ls, index=i, value=row)

        _, ls = mb.while_loop(
            _cond=lambda i, ls: mb.less(x=i, y=np.int32(4)), _body=step, loop_vars=(np.int32(0), make(4))
        )
        return mb.list_gather(ls=ls, indices=np.int32([3, 0])), mb.list_read(ls=ls, index=np.int32(1))

    rows, one = build.run(body, {"x": X})
    assert_array_equal(rows, 2 * X[[3, 0]])
    assert_array_equal(one, 2 * X[1])


def test_a_list_is_scattered_grows_and_keeps_its_older_selves() -> None:
    def body(x: Any) -> Any:
        old = mb.list_scatter(ls=make(2, grows=True), indices=np.int32([0, 2]), value=mb.slice_by_size(
            x=x, begin=[0, 0], size=[2, 3]))  # fmt: skip
        new = mb.list_write(ls=old, index=np.int32(0), value=mb.gather(x=x, indices=np.int32(3), axis=0))
        return (
            mb.list_length(ls=new),
            mb.list_gather(ls=old, indices=np.int32([0, 2])),
            mb.list_gather(ls=new, indices=np.int32([0, 2])),
        )

    length, old, new = build.run(body, {"x": X})
    assert length == 3
    assert_array_equal(old, X[:2])
    assert_array_equal(new, X[[3, 1]])


def test_what_was_never_written_is_zero_where_its_shape_is_known() -> None:
    def body(x: Any, shape: Any = 3) -> Any:
        ls = mb.make_list(init_length=2, dynamic_length=False, elem_shape=(shape,), dtype="fp32")
        ls = mb.list_write(ls=ls, index=np.int32(0), value=mb.gather(x=x, indices=np.int32(0), axis=0))
        return mb.list_read(ls=ls, index=np.int32(1))

    assert_array_equal(build.run(body, {"x": X})[0], np.zeros(3, np.float32))
    with pytest.raises(OpError, match="item 1 of a list is read, which was never written and has no shape"):
        build.run(lambda x: body(x, "any"), {"x": X})


def test_a_list_of_fixed_length_does_not_grow() -> None:
    def body(x: Any) -> Any:
        ls = mb.list_write(ls=make(2), index=np.int32(2), value=mb.gather(x=x, indices=np.int32(0), axis=0))
        return mb.list_read(ls=ls, index=np.int32(0))

    with pytest.raises(OpError, match="index 2 of a list of 2"):
        build.run(body, {"x": X})
