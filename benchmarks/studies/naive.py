"""The yardstick: the same network exported as one graph, the way the published web demo ships it.

Image and state go in, the next state comes out. The correlation of every level is formed over the whole map (a grouped
convolution for kernels above 1x1, else a matrix product) and sampled with GridSample. Nothing is folded here: what the
exporter and the engine fold of themselves (batch norms, the query encoders of the constant points) is theirs. Like the
published graph it has no clamps at the end, and the gate is off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlot.export.bundle.writer import stage_specs
from qlot.export.graphs.schemes import plan_for
from qlot.export.graphs.stages import Stage
from qlot.export.pipeline import resolve_checkpoint
from qlot.export.targets.onnx.convert import convert
from qlot.model.checkpoint import load_checkpoint
from qlot.model.layout import Layout, load_layout
from qlot.model.qlot import QLOT, advance, normalise_image
from qlot.model.state import from_pixels, to_pixels
from qlot.runtime.bundle.manifest import TensorSpec
from qlot.runtime.network.sessions import open_session
from qlot.runtime.network.sessions.base import Session
from qlot.runtime.network.state import cold_start


class NaiveQLOT(nn.Module):
    """The network as defined, for one layout, `iterations` steps inside."""

    def __init__(self, model: QLOT, layout: Layout, iterations: int) -> None:
        super().__init__()
        self.model, self.iterations = model, iterations
        self.register_buffer("points", torch.tensor(layout.points, dtype=torch.float32)[None])

    def forward(self, image: Tensor, landmarks: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, S, S) RGB in [0, 1], (1, N, 7) in pixels, (1, N, H) -> the next landmarks and hidden."""
        model, size = self.model, self.model.config.image_size
        queries = model.encode(self.points)
        pyramid, context = model.pyramid(model.backbone(normalise_image(image)))
        maps = [correlation_map(f, t[0]) for f, t in zip(pyramid, queries.templates, strict=True)]
        state = from_pixels(landmarks, hidden, size)
        for _ in range(self.iterations):
            patches = [
                sample(m, state.position[0], f.shape[-1], model.config.window)[None]
                for m, f in zip(maps, pyramid, strict=True)
            ]
            state = advance(state, model.refiner(patches, queries.identity, context, state), None)
        return to_pixels(state, size), state.hidden


def correlation_map(features: Tensor, template: Tensor) -> Tensor:
    """Correlate a whole map. (1, C, H, W), (N, K, C/K, R, R) -> (N, K, H', W')."""
    n, k, c, r, _ = template.shape
    h, w = features.shape[-2:]
    by_head = template.transpose(0, 1)
    if r > 1:
        maps = F.conv2d(features, by_head.flatten(0, 1), groups=k).unflatten(1, (k, n))[0]
    else:
        maps = (by_head.flatten(2) @ features.reshape(k, c, h * w)).unflatten(-1, (h, w))
    return maps.transpose(0, 1)


def sample(maps: Tensor, position: Tensor, width: int, window: int) -> Tensor:
    """Look maps (N, K, H', W') up around positions (N, 2) on the feature map of `width` -> (N, K, window, window)."""
    size = maps.shape[-1]
    offsets = torch.linspace(-1, 1, window) * ((window - 1) / size)
    around = torch.stack(torch.meshgrid(offsets, offsets, indexing="xy"), -1)
    grid = position[:, None, None] * (width / size) + around
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def load_naive(model: QLOT, layout: Layout, iterations: int) -> Session:
    """Export the one graph and load it, through the exporter and the session options that bundles get.

    Inputs image, landmarks, hidden; outputs landmarks_out, hidden_out.
    """
    size, n = model.config.image_size, len(layout)
    image = _spec("image", (1, 3, size, size))
    landmarks, hidden = (1, n, 7), (1, n, model.config.hidden_width)
    stage = Stage(
        "refiner_unrolled",  # a bundle's name for a graph with several steps; this one also holds the extractor
        NaiveQLOT(model, layout, iterations).eval(),
        (image, _spec("landmarks", landmarks), _spec("hidden", hidden)),
        (_spec("landmarks_out", landmarks), _spec("hidden_out", hidden)),
        iterations,
    )
    graph = convert(stage, plan_for("onnx", "fp32"), None)
    spec = stage_specs([stage], {stage.name: graph})[stage.name]
    return open_session("onnx", graph.data, spec, f"single graph, {iterations} steps")


def _spec(name: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", meaning=name, unit="1")


def single_graph_calls(weights: str, counts: Sequence[int]) -> dict[int, Callable[[], object]]:
    """Return calls of one graph with K steps inside, for each K, for 98 landmarks. Its time depends on no pixel.

    Args:
        weights: a checkpoint, or the name of shipped weights.
        counts: K.

    Raises:
        ExportError: no such weights.
    """
    model, layout = load_checkpoint(resolve_checkpoint(weights)), load_layout("wflw98")
    size = model.config.image_size
    image = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    state = cold_start(np.array(layout.points), size, model.config.hidden_width)
    feeds = {"image": image, "landmarks": state.landmarks, "hidden": state.hidden}
    return {k: partial(load_naive(model, layout, k).run, feeds) for k in counts}
