"""Sums in float16: how large the partial sums of a graph's products grow over the golden clip.

A GPU delegate, or XNNPACK told to, may sum in float16, which ends at 65504. For each product the sum of |x| |w| bounds
every partial sum in whatever order. It is taken over every frame and step of the clip. The sums are emulated, one
addition after the other, each rounded, wherever it comes near the end of float16, and where it is largest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlot.export.lint.finding import LABEL
from qlot.export.lint.graph import GraphNode, LintError, StageGraph
from qlot.export.lint.numpy_run import patches, run_graph
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.network.replay import run_frames
from qlot.runtime.network.state import State

HALF = float(np.finfo(np.float16).max)
NEAR = 0.5  # share of `HALF` from which a bound is worth an emulation: rounding adds less than that to any sum here

Array = NDArray[Any]


@dataclass(frozen=True)
class HalfSums:
    """What was found.

    Attributes:
        frames: of the golden clip that were run.
        products: operations that sum: convolutions, linear layers, matrix products, means.
        bound: largest sum of |x| |w|, which no partial sum exceeds.
        bound_at: stage and tensor of it.
        partial: largest |partial sum| of those that were emulated, infinite if one overflowed.
        overflows: stage, operation and tensor of each that overflowed.
        values: largest value of any tensor, and its stage and name.
        skipped: why nothing was emulated; "" if it was.
        label: that nothing ran on a device.
    """

    frames: int = 0
    products: int = 0
    bound: float = 0.0
    bound_at: tuple[str, str] = ("", "")
    partial: float = 0.0
    overflows: tuple[tuple[str, str, str], ...] = ()
    values: float = 0.0
    values_at: tuple[str, str] = ("", "")
    skipped: str = ""
    label: str = LABEL


def half_sums(graphs: Mapping[str, StageGraph], golden: GoldenSequence | None, points: Array, size: int) -> HalfSums:
    """Run extractor and refiner over a golden clip in float32 and bound or emulate their sums in float16.

    Args:
        graphs: by stage.
        golden: the bundle's golden sequence, None if it has none.
        points: (N, 3) canonical points of the layout.
        size: side of the network input, pixels.
    """
    if golden is None:
        return HalfSums(skipped="the bundle has no golden sequence (--no-golden)")
    meter = _Meter(graphs, size)
    try:
        frames = sum(1 for _ in run_frames(meter, golden, points))
    except LintError as e:
        return HalfSums(skipped=str(e))
    except (ValueError, LookupError, TypeError) as e:  # a graph of another exporter, in ways that are not foreseen
        return HalfSums(skipped=f"the graphs cannot be followed: {type(e).__name__}: {e}")
    return meter.result(frames)


class _Meter:
    """A network that runs in NumPy and watches its sums."""

    def __init__(self, graphs: Mapping[str, StageGraph], size: int) -> None:
        self._graphs, self.size = graphs, size
        self._bounds: dict[tuple[str, str], float] = {}
        self._partial: dict[tuple[str, str, str], float] = {}
        self._largest, self._largest_at = 0.0, ("", "")
        self._worst: tuple[float, tuple[str, str, str], Array, Array] | None = None  # factors of the largest bound

    def extract(self, image: Array) -> dict[str, Array]:
        """Image (1, 3, S, S) -> features by name."""
        return self._run("extractor", {self._graphs["extractor"].inputs[0]: image})

    def refine(self, features: Mapping[str, Array], state: State) -> tuple[Array, Array, Array]:
        """Features and state -> displacement (1, N, 2) px, covariance (1, N, 3), hidden (1, N, H)."""
        found = self._run("refiner", {**features, "landmarks": state.landmarks, "hidden": state.hidden})
        return found["displacement"], found["covariance"], found["hidden_out"]

    def _run(self, stage: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        graph = self._graphs[stage]
        values = run_graph(graph, feeds)
        for node in graph.computing:
            self._watch(graph, node, values)
        return {name: values[name] for name in graph.outputs}

    def _watch(self, graph: StageGraph, node: GraphNode, values: Mapping[str, Array]) -> None:
        largest = float(np.abs(values[node.name]).max(initial=0))
        if largest > self._largest:
            self._largest, self._largest_at = largest, (graph.stage, node.name)
        factors = _factors(node, [values[name] for name in node.inputs if name])
        if factors is None:
            return
        rows, columns = factors
        bound, at = float((np.abs(rows) @ np.abs(columns)).max(initial=0)), (graph.stage, node.name)
        self._bounds[at] = max(self._bounds.get(at, 0.0), bound)
        key = (graph.stage, node.op, node.name)
        if self._worst is None or bound > self._worst[0]:
            self._worst = bound, key, rows, columns
        if bound > NEAR * HALF:
            self._partial[key] = max(self._partial.get(key, 0.0), largest_partial(rows, columns))

    def result(self, frames: int) -> HalfSums:
        at = max(self._bounds, key=lambda key: self._bounds[key])
        if self._worst is not None and self._worst[1] not in self._partial:
            _, key, rows, columns = self._worst
            self._partial[key] = largest_partial(rows, columns)
        over = tuple(key for key, partial in self._partial.items() if not partial <= HALF)
        partial = max(self._partial.values(), default=0.0)
        return HalfSums(frames, len(self._bounds), self._bounds[at], at, partial, over, self._largest, self._largest_at)


def _factors(node: GraphNode, inputs: list[Array]) -> tuple[Array, Array] | None:
    """Return a product, or a mean, as matrices: rows (..., M, K) and columns (..., K, N); None for what is none."""
    if node.op == "MEAN":  # divided by its count only when all are added
        axes = sorted(int(a) % inputs[0].ndim for a in np.atleast_1d(inputs[1]))
        moved = np.moveaxis(inputs[0], axes, range(-len(axes), 0))
        rows = moved.reshape(-1, math.prod(moved.shape[-len(axes) :]))
        return rows, np.ones((rows.shape[1], 1), rows.dtype)
    if node.op == "FULLY_CONNECTED":
        return inputs[0].reshape(-1, inputs[1].shape[1]), inputs[1].T
    if node.op == "BATCH_MATMUL":
        x, y = inputs
        x = np.swapaxes(x, -1, -2) if node.attributes["adj_x"] else x
        return x, np.swapaxes(y, -1, -2) if node.attributes["adj_y"] else y
    if node.op == "CONV_2D":
        x, weights = inputs[0], inputs[1]
        groups = x.shape[-1] // weights.shape[-1]
        columns = weights.reshape(groups, len(weights) // groups, -1)  # (groups, O, K)
        seen = np.stack(np.split(patches(node, x, weights.shape[1:3]), groups, -1))
        return seen.reshape(groups, -1, columns.shape[-1]), np.swapaxes(columns, -1, -2)
    if node.op == "DEPTHWISE_CONV_2D":  # a matrix for each channel
        weights = inputs[1][0].reshape(-1, inputs[1].shape[-1])  # (K, O)
        seen = patches(node, inputs[0], inputs[1].shape[1:3])
        seen = np.repeat(seen, weights.shape[1] // seen.shape[-1], -1).reshape(-1, *weights.shape)
        return np.moveaxis(seen, -1, 0), np.moveaxis(weights, -1, 0)[..., None]
    return None


def largest_partial(rows: Array, columns: Array) -> float:
    """Return the largest |partial sum| of a product whose terms and sums are rounded to float16.

    Args:
        rows: (..., M, K).
        columns: (..., K, N), with the same leading axes.
    """
    half_rows, half_columns = rows.astype(np.float16), columns.astype(np.float16)
    total = np.zeros((*rows.shape[:-1], columns.shape[-1]), np.float16)
    largest = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(rows.shape[-1]):
            total = total + half_rows[..., k, None] * half_columns[..., k, None, :]
            step = np.abs(total).max(initial=0)
            largest = max(largest, float(np.inf if np.isnan(step) else step))
    return largest
