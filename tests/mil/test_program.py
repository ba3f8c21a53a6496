from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.mil import build
from tests.mil.build import KERNELS, FeedError, Kernel, OpError, Program, load

mb = build.mb
X = build.normal(2, 3)


def make(body: Any, feeds: Any = None, target: Any = build.ct.target.iOS17) -> Program:
    built = build.program(body, feeds or {"x": X}, target)
    return Program(built.functions["main"], ("main",), "main")


def test_ports_and_operations() -> None:
    program = make(lambda x: mb.add(x=mb.relu(x=x), y=1.0, name="y"))
    (inside,), (outside,) = program.inputs, program.outputs
    assert (inside.name, inside.dtype, inside.shape) == ("x", "float32", (2, 3))
    assert (outside.name, outside.dtype, outside.shape) == ("y", "float32", (2, 3))
    assert program.ops == {"relu": 1, "add": 1}  # constants do not count


def test_every_intermediate_is_observed_in_order() -> None:
    seen: list[tuple[str, np.ndarray]] = []
    program = make(lambda x: mb.add(x=mb.relu(x=x, name="r"), y=np.float32(1), name="y"))
    out = program.run({"x": X}, observe=lambda name, value: seen.append((name, value.copy())))
    assert [n for n, _ in seen] == ["x", "r", "y"]
    assert_array_equal(seen[1][1], np.maximum(X, 0))
    assert_array_equal(seen[2][1], out["y"])


def test_runs_do_not_disturb_each_other_or_their_feeds() -> None:
    program = make(lambda x: mb.identity(x=mb.slice_by_index(x=x, begin=[0, 0], end=[1, 3])))
    feed = X.copy()
    (first,) = program.run({"x": feed}).values()
    kept = first.copy()
    (second,) = program.run({"x": feed * 2}).values()
    assert_array_equal(first, kept)
    assert_array_equal(second, 2 * kept)
    first[:] = 99  # results are the caller's
    assert_array_equal(feed, X)


def test_a_value_that_is_read_late_is_still_there() -> None:
    def body(x: Any) -> Any:
        early = mb.relu(x=x)
        late = early
        for _ in range(5):
            late = mb.mul(x=late, y=np.float32(2))
        return mb.sub(x=late, y=early)

    assert_array_equal(next(iter(make(body).run({"x": X}).values())), 31 * np.maximum(X, 0))


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"missing \['x'\]"),
        ({"x": X, "z": X}, r"unknown \['z'\]"),
        ({"x": X[:1]}, r"\(1, 3\); the program takes float32 \(2, 3\)"),
        ({"x": X.astype(np.float64)}, "float64 .* takes float32"),
        ({"x": X.tolist()}, "is a list; pass a numpy array"),
    ],
)
def test_wrong_feeds(feeds: Any, message: str) -> None:
    with pytest.raises(FeedError, match=message):
        make(lambda x: mb.relu(x=x)).run(feeds)


def test_an_unknown_operation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(KERNELS, "relu")
    with pytest.raises(OpError, match=r"'relu' \(output 'r' of function 'main'\)"):
        make(lambda x: mb.relu(x=x, name="r"))


def test_an_unknown_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(lambda x: x, frozenset({"x"}), frozenset(), wide=False)
    monkeypatch.setitem(KERNELS, "leaky_relu", kernel)
    with pytest.raises(OpError, match="'alpha' is not known"):
        make(lambda x: mb.leaky_relu(x=x, alpha=0.1))


def test_a_kernel_that_disagrees_with_the_program_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNELS, "relu", Kernel(lambda x: x[:1], frozenset({"x"}), frozenset(), wide=False))
    with pytest.raises(OpError, match=r"came out as \(1, 3\); the program declares float32 \(2, 3\)"):
        make(lambda x: mb.relu(x=x)).run({"x": X})


def test_branches() -> None:
    def body(x: Any, flag: Any) -> Any:
        doubled = mb.mul(x=x, y=np.float32(2))
        return mb.cond(
            pred=mb.squeeze(x=flag),
            _true_fn=lambda: mb.add(x=doubled, y=np.float32(1)),
            _false_fn=lambda: mb.identity(x=x),
        )

    program = make(body, {"x": X, "flag": np.array([True])})
    for flag, want in ((True, 2 * X + 1), (False, X)):
        assert_array_equal(next(iter(program.run({"x": X, "flag": np.array([flag])}).values())), want)


def test_loops() -> None:
    def body(x: Any, n: Any) -> Any:
        step = mb.relu(x=x)
        return mb.while_loop(
            _cond=lambda i, total: mb.less(x=i, y=mb.squeeze(x=n)),
            _body=lambda i, total: (mb.add(x=i, y=np.int32(1)), mb.add(x=total, y=step)),
            loop_vars=(np.int32(0), mb.identity(x=x)),
        )[1]

    program = make(body, {"x": X, "n": np.int32([1])})
    for n in (3, 0, 1):
        (y,) = program.run({"x": X, "n": np.int32([n])}).values()
        np.testing.assert_allclose(y, X + n * np.maximum(X, 0), rtol=1e-6)


def stateful(tmp_path: Path) -> Program:
    """A package that adds its input to a state and returns twice the sum."""
    import torch

    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(2, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.total.add_(x)
            return self.total * 2

    with build.quiet():
        ct = build.ct
        model = ct.convert(
            torch.jit.trace(Sum().eval(), torch.zeros(2, 3)),
            inputs=[ct.TensorType(name="x", shape=(2, 3))],
            outputs=[ct.TensorType(name="y")],
            states=[ct.StateType(wrapped_type=ct.TensorType(shape=(2, 3)), name="total")],
            minimum_deployment_target=ct.target.iOS18,
            skip_model_load=True,
        )
    return load(build.save(model, tmp_path / "sum.mlpackage"))


def test_states_live_between_runs_and_apart(tmp_path: Path) -> None:
    program = stateful(tmp_path)
    (port,) = program.states
    assert (port.name, port.dtype, port.shape) == ("total", "float16", (2, 3))
    ones = np.ones((2, 3), program.inputs[0].dtype)
    one, other = program.new_state(), program.new_state()
    for n in (1, 2, 3):
        assert_array_equal(program.run({"x": ones}, one)["y"], 2 * n * ones)
    assert_array_equal(program.run({"x": ones}, other)["y"], 2 * ones)
    assert_array_equal(one["total"], 3 * ones)
    with pytest.raises(FeedError, match=r"state: missing \['total'\]"):
        program.run({"x": ones})
