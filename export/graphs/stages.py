"""The graphs of a bundle as PyTorch modules: what is traced is exactly the interface that the manifest describes.

Units at every interface are pixels of the network input. Graphs return displacements, never positions: the caller adds
them in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qlot.model.fuse import FusedQLOT
from qlot.model.gate import TensorGate
from qlot.model.qlot import Features, advance
from qlot.model.refiner import Update
from qlot.model.state import TensorState
from qlot.runtime.bundle.manifest import StageName, TensorSpec


@dataclass(frozen=True)
class Stage:
    """One graph to be converted: the module, its name, its interface and example inputs in interface order."""

    name: StageName
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    iterations: int

    def example(self) -> tuple[Tensor, ...]:
        """Return zero tensors of the input shapes."""
        return tuple(torch.zeros(t.shape) for t in self.inputs)


class ExtractorGraph(nn.Module):
    """Once per frame."""

    def __init__(self, model: FusedQLOT) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, S, S) -> level tensors, context (1, C)."""
        levels, context = self.model.extract(image)
        return (*levels, context)


class RefinerGraph(nn.Module):
    """Once per iteration; the gate and the addition are the caller's."""

    def __init__(self, model: FusedQLOT) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Levels, context, landmarks (1, N, 7), hidden -> displacement (1, N, 2), covariance (1, N, 3), hidden."""
        *levels, context, landmarks, hidden = tensors
        update: Update = self.model.refine(Features(tuple(levels), context), landmarks, hidden)
        return update


class UnrolledRefinerGraph(nn.Module):
    """K iterations in one call; the gate is inside, its radius and cutoff are inputs."""

    def __init__(self, model: FusedQLOT, iterations: int) -> None:
        super().__init__()
        self.model, self.iterations = model, iterations

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Levels, context, landmarks, hidden, gate (2,) -> total and last displacement, covariance, hidden."""
        *levels, context, landmarks, hidden, gate = tensors
        features = Features(tuple(levels), context)
        position, covariance, delta = landmarks.split([2, 3, 2], -1)
        state = TensorState(position, covariance, delta, hidden)  # in pixels, like all that the deployed network takes
        total = torch.zeros_like(state.delta)
        for _ in range(self.iterations):
            landmarks = torch.cat([state.position, state.covariance, state.delta], -1)
            update: Update = self.model.refine(features, landmarks, state.hidden)
            state = advance(state, update, TensorGate(gate[0], gate[1]))
            total = total + state.delta
        return total, state.delta, state.covariance, state.hidden


def make_stages(model: FusedQLOT, unrolled: int | None = None) -> list[Stage]:
    """Return extractor and refiner, and with `unrolled` = K the K-fold refiner, with their interfaces."""
    cfg, n = model.config, model.points.shape[1]
    levels = _level_specs(model)
    context = _spec("context", (1, cfg.channels), "global image context", "1")
    features = (*levels, context)
    landmarks = _spec(
        "landmarks",
        (1, n, 7),
        "x, y, log sigma x, log sigma y, artanh rho, dx, dy of each landmark",
        "px, ln px, 1, px",
    )
    hidden = _spec("hidden", (1, n, cfg.hidden_width), "recurrent hidden state", "1")
    displacement = _spec("displacement", (1, n, 2), "displacement of each landmark before the gate", "px")
    covariance = _spec("covariance", (1, n, 3), "log sigma x, log sigma y, artanh rho, predicted afresh", "ln px, 1")
    hidden_out = _spec("hidden_out", hidden.shape, "next recurrent hidden state", "1")
    image = _spec("image", (1, 3, cfg.image_size, cfg.image_size), "RGB crop, not normalised", "[0, 1]")
    stages = [
        Stage("extractor", ExtractorGraph(model).eval(), (image,), features, 0),
        Stage(
            "refiner",
            RefinerGraph(model).eval(),
            (*features, landmarks, hidden),
            (displacement, covariance, hidden_out),
            1,
        ),
    ]
    if unrolled is not None:
        gate = _spec("gate", (2,), "gate radius (0: no gate) and cutoff", "px, 1")
        total = _spec("total_displacement", (1, n, 2), "sum of the gated displacements of all steps", "px")
        last = displacement.model_copy(update={"meaning": "last gated displacement, the state's dx, dy"})
        outputs = (total, last, covariance, hidden_out)
        module = UnrolledRefinerGraph(model, unrolled).eval()
        stages.append(Stage("refiner_unrolled", module, (*features, landmarks, hidden, gate), outputs, unrolled))
    return stages


def _level_specs(model: FusedQLOT) -> tuple[TensorSpec, ...]:
    cfg = model.config
    with torch.no_grad():
        size = cfg.image_size
        levels, _ = model.extract(torch.zeros(1, 3, size, size))
    order = "landmark, row, head, column" if model.lowering == "dense" else "landmarks of each head, row, column"
    return tuple(
        _spec(f"map_{i}", t.shape, f"correlation maps ({order})", "1")
        if t.ndim > 3
        else _spec(f"pyramid_{i}", t.shape, "feature map, one row per pixel", "1")
        for i, t in enumerate(levels)
    )


def _spec(name: str, shape: tuple[int, ...], meaning: str, unit: str) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(shape), dtype="float32", meaning=meaning, unit=unit)
