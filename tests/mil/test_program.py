from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.mil import build
from tests.mil.build import CONTROL, KERNELS, REFUSED, FeedError, Kernel, OpError, Program, from_model, load

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


def test_an_operation_that_stays_out_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(KERNELS, "relu")
    monkeypatch.setitem(REFUSED, "relu", "nobody needs it")
    with pytest.raises(OpError, match=r"'relu' .* is not known to this interpreter: nobody needs it"):
        make(lambda x: mb.relu(x=x))


def test_every_operation_of_mil_is_covered_or_refused_by_name() -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    known = KERNELS.keys() | CONTROL.keys() | REFUSED.keys() | {"const"}
    missing = {op for op in SSAOpRegistry.core_ops if not op.startswith("constexpr_")} - known
    assert not missing
    unnamed = {
        (op, version, name)
        for op, versions in SSAOpRegistry.core_ops.items()
        if op in KERNELS
        for version, kind in versions.items()
        for name in kind.input_spec.input_types.keys() - KERNELS[op].tensors - KERNELS[op].attributes
    }
    assert not unnamed


def flexible(shape: Any, dtype: Any = np.float32) -> Program:
    import torch

    ct = build.ct
    with build.quiet():
        traced = torch.jit.trace(torch.nn.Softmax(-1), torch.zeros(1, 4))
        model = ct.convert(
            traced,
            inputs=[ct.TensorType(name="x", shape=shape, dtype=dtype)],
            outputs=[ct.TensorType(name="y", dtype=dtype)],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
    return from_model(model)


def test_a_size_outside_its_range_is_refused() -> None:
    program = flexible(build.ct.Shape(shape=(1, build.ct.RangeDim(2, 5))))
    assert program.inputs[0].ranges == ((1, 1), (2, 5))
    for n in (2, 5):
        assert program.run({"x": np.ones((1, n), np.float32)})["y"].shape == (1, n)
    for n in (1, 6):
        with pytest.raises(FeedError, match=rf"float32 \(1, {n}\); the program takes float32 \(1, 2 to 5\)"):
            program.run({"x": np.ones((1, n), np.float32)})


def test_only_the_shapes_that_a_model_lists_are_taken() -> None:
    program = flexible(build.ct.EnumeratedShapes(shapes=[(1, 4), (1, 8)]))
    assert program.run({"x": np.ones((1, 8), np.float32)})["y"].shape == (1, 8)
    with pytest.raises(FeedError, match=r"takes float32 \(1, 4\) or \(1, 8\)"):
        program.run({"x": np.ones((1, 6), np.float32)})


@pytest.mark.parametrize("flexibility", ["range", "listed"])
def test_sizes_of_images_are_checked_too(flexibility: str) -> None:
    ct = build.ct
    sizes: Any = {
        "range": ct.Shape(shape=(1, 3, ct.RangeDim(4, 8), ct.RangeDim(4, 16))),
        "listed": ct.EnumeratedShapes(shapes=[(1, 3, 4, 4), (1, 3, 8, 8)]),
    }
    import torch

    with build.quiet():
        model = ct.convert(
            torch.jit.trace(torch.nn.ReLU(), torch.zeros(1, 3, 4, 4)),
            inputs=[ct.ImageType(name="x", shape=sizes[flexibility])],
            outputs=[ct.TensorType(name="y", dtype=np.float32)],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
    program = from_model(model)
    assert program.images == {"x": "RGB"}
    dtype = program.inputs[0].dtype
    assert program.run({"x": np.ones((1, 3, 8, 8), dtype)})["y"].shape == (1, 3, 8, 8)
    wanted = r"\(1, 3, 4 to 8, 4 to 16\)" if flexibility == "range" else r"\(1, 3, 4, 4\) or \(1, 3, 8, 8\)"
    with pytest.raises(FeedError, match=wanted):
        program.run({"x": np.ones((1, 3, 9, 8), dtype)})


@pytest.mark.parametrize("labels", [["cat", "dog", "ant"], [4, 7, 9]])
def test_a_classifier_names_the_likeliest(labels: list[Any]) -> None:
    import torch

    ct = build.ct
    with build.quiet():
        model = ct.convert(
            torch.jit.trace(torch.nn.Softmax(-1), torch.zeros(1, 3)),
            inputs=[ct.TensorType(name="x", shape=(1, 3), dtype=np.float32)],
            classifier_config=ct.ClassifierConfig(labels),
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
        )
    program = from_model(model)
    label, chances = program.outputs
    assert program.classes == tuple(labels)
    assert (label.dtype, label.shape) == ("str" if isinstance(labels[0], str) else "int64", ())
    assert (chances.dtype, chances.shape) == ("float32", (3,))
    x = np.float32([[0, 3, 1]])
    found = program.run({"x": x})
    assert found[label.name] == labels[1]
    np.testing.assert_allclose(found[chances.name], (np.exp(x) / np.exp(x).sum())[0], atol=1e-3)
