"""QLOT: extract once per frame, refine K times, carry the state to the next frame.

Gschwind, Weisenhorn, Badertscher, "QLOT: Queried Learned Optimization for Face Landmark Tracking" (OST, 2026).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor, nn

from qlot.model import correlation
from qlot.model.backbone import HGNetV2
from qlot.model.config import QLOTConfig
from qlot.model.gate import TensorGate, gate_factor
from qlot.model.pyramid import Pyramid
from qlot.model.queries import FourierEncoding, IdentityEncoder, Placement, Queries, TemplateEncoder
from qlot.model.refiner import Refiner, Update
from qlot.model.state import TensorState, clamp_output, cold_start

Lowering = Literal["dense", "windowed"]
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet


class Features(NamedTuple):
    """A frame as the refiner sees it; the form of `levels` follows the lowering.

    dense: correlation maps (B, N, H', K_i, W').
    windowed: feature rows (B, H * W, C), or maps (B, K_i * N, H, W) where R_i = 1.
    """

    levels: tuple[Tensor, ...]
    context: Tensor  # (B, C)


def normalise_image(image: Tensor) -> Tensor:
    """(B, 3, S, S) RGB in [0, 1] -> zero mean, unit variance by ImageNet's statistics."""
    mean, std = (image.new_tensor(v)[:, None, None] for v in (IMAGE_MEAN, IMAGE_STD))
    return (image - mean) / std


def correlate(pyramid: list[Tensor], templates: tuple[Tensor, ...], lowering: Lowering) -> tuple[Tensor, ...]:
    """Prepare a frame's pyramid for lookups in the form that the lowering wants."""
    if lowering == "dense":
        return tuple(correlation.correlation_map(f, t) for f, t in zip(pyramid, templates, strict=True))
    return tuple(correlation.windowed_level(f, t) for f, t in zip(pyramid, templates, strict=True))


def look_up(
    levels: tuple[Tensor, ...], templates: tuple[Tensor, ...], position: Tensor, window: int, lowering: Lowering
) -> list[Tensor]:
    """Correlation patches (B, N, K_i, window, window) around the positions (B, N, 2)."""
    if lowering == "dense":
        return [
            correlation.lookup_dense(m, position, t.shape[-1], window).transpose(2, 3)
            for m, t in zip(levels, templates, strict=True)
        ]
    seen = correlation.lookup_windowed(levels, templates, position.flatten(0, 1).T, window)
    by_landmark = seen.unflatten(-1, position.shape[:2]).permute(3, 4, 0, 1, 2)
    return list(by_landmark.split([t.shape[2] for t in templates], 2))


def advance(state: TensorState, update: Update, gate: TensorGate | None) -> TensorState:
    """Apply an update: gate the displacement, move, replace the covariance. Nothing is clamped."""
    delta = update.delta if gate is None else update.delta * gate_factor(update.delta, update.covariance, gate)
    return TensorState(state.position + delta, update.covariance, delta, update.hidden)


class QLOT(nn.Module):
    """The whole network for any layout and batch; `qlot.model.fuse` turns it into its deployed form."""

    def __init__(self, config: QLOTConfig | None = None, lowering: Lowering = "dense") -> None:
        super().__init__()
        self.config = config or QLOTConfig()
        self.lowering: Lowering = lowering
        self.backbone = HGNetV2(self.config)
        self.pyramid = Pyramid(self.config)
        self.encoding = FourierEncoding(self.config)
        self.identity = IdentityEncoder(self.config)
        self.templates = TemplateEncoder(self.config)
        self.placement = Placement(self.config.convention) if self.config.convention else nn.Identity()
        self.refiner = Refiner(self.config)

    def encode(self, points: Tensor) -> Queries:
        """Encode a layout: canonical points (B, N, 3), y up -> Queries."""
        encoding = self.encoding(self.placement(points))
        return Queries(points, self.identity(encoding), self.templates(encoding))

    def extract(self, image: Tensor, queries: Queries) -> Features:
        """Run the extractor: (B, 3, S, S) RGB in [0, 1] -> Features."""
        pyramid, context = self.pyramid(self.backbone(normalise_image(image)))
        return Features(correlate(pyramid, queries.templates, self.lowering), context)

    def refine(self, features: Features, queries: Queries, state: TensorState, mask: Tensor | None = None) -> Update:
        """Run one refinement step; `mask` (B, N) keeps landmarks from writing into the mixer."""
        window = self.config.window
        patches = look_up(features.levels, queries.templates, state.position, window, self.lowering)
        return self.refiner(patches, queries.identity, features.context, state, mask)

    def forward(
        self,
        image: Tensor,
        points: Tensor,
        state: TensorState | None = None,
        iterations: int = 4,
        gate: TensorGate | None = None,
        mask: Tensor | None = None,
    ) -> list[TensorState]:
        """Track one frame.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            points: (B, N, 3) canonical query points, y up.
            state: carried from the last frame; None starts cold.
            iterations: refinement steps K.
            gate: uncertainty gate, normalised; None for none.
            mask: (B, N) bool, True for landmarks that must not write into the mixer.

        Returns:
            The normalised state after each step; only the last is clamped, and is what the next frame takes.
        """
        queries = self.encode(points)
        features = self.extract(image, queries)
        state = state or cold_start(points, self.config.hidden_width)
        return run(lambda s: self.refine(features, queries, s, mask), state, iterations, gate)


def run(
    refine: Callable[[TensorState], Update], state: TensorState, iterations: int, gate: TensorGate | None
) -> list[TensorState]:
    """Iterate a refinement step over one frame; clamp the last state."""
    states = []
    for _ in range(iterations):
        state = advance(state, refine(state), gate)
        states.append(state)
    states[-1] = clamp_output(states[-1])
    return states
