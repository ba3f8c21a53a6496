"""One batch of clips through the network as a tracker runs it, and the losses of the trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qlot.model.correlation import lookup_dense
from qlot.model.qlot import QLOT, advance, normalise_image
from qlot.model.queries import Queries
from qlot.model.state import TensorState, clamp_output, cold_start
from qlot.training.data.batch import Batch
from qlot.training.data.eyes import eye_sides
from qlot.training.fit import losses

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """Weights of the losses at one step, and of earlier iterations: `decay` to the power of steps before the last."""

    position: float = 1.0
    eyes: float = 0.0
    covariance: float = 1.0
    first_difference: float = 0.5
    second_difference: float = 0.25
    flip: float = 0.0
    maps: float = 0.0
    unsure: float = 0.1
    decay: float = 0.85


@dataclass(frozen=True)
class Chances:
    """What is drawn per sample: how it starts, which landmarks write, whether a frame forgets the state.

    A start is cold (as deployed), or the query points scaled by 1 + 0.5 N(0, 1), shifted by 0.4 N(0, 1) and a fifth of
    them by 0.05 (published), or the truth with an error, as after a tracker's jump.
    """

    wild: float = 0.2
    near: float = 0.2
    near_error: float = 0.08  # normalised sigma, one shift for the face and as much again per landmark
    masked: float = 0.15
    reset: float = 0.005


class Task:
    """A step's batch, iterations per frame and weights: one object that wrappers for mixed precision do not look into.

    They would round every tensor among the arguments, the labels too: to 0.004 in bfloat16, a fifth of a pixel.
    """

    def __init__(self, batch: Batch, iterations: list[int], weights: Weights) -> None:
        self.batch, self.iterations, self.weights = batch, iterations, weights


class Unroll(nn.Module):
    """The network with its trajectory losses, as one module: what a distributed wrapper calls."""

    def __init__(self, model: QLOT, chances: Chances | None = None) -> None:
        super().__init__()
        self.model, self.chances = model, chances or Chances()

    def forward(self, task: Task) -> Losses:
        """Run `iterations[l]` steps on frame l of every clip.

        Returns:
            Each loss by name, not weighted, and their weighted sum as `total`.
        """
        batch, iterations, weights = task.batch, task.iterations, task.weights
        if weights.flip > 0:
            batch = with_mirrored(batch)
        levels, context, queries = self._extract(batch)
        start, mask, forget = self._draw(batch)
        state, finals, found = start, [], _Mean()
        sides = eye_sides(batch.points)
        eyes = sides == -1, sides == 1
        for frame, count in enumerate(iterations):
            if frame:
                state = _where(forget[:, frame], cold_start(batch.points, state.hidden.shape[-1]), state)
            target, valid = batch.targets[:, frame], batch.valid[:, frame]
            for i in range(count):
                state = self._refine([level[frame] for level in levels], context[frame], queries, state, mask)
                weight = weights.decay ** (count - 1 - i)
                found.add("position", losses.position_loss(state.position, target, valid), weight)
                shapes = [losses.shape_loss(state.position, target, valid & eye) for eye in eyes]
                found.add("eyes", (shapes[0] + shapes[1]) / 2, weight)
                args = (state.position, state.covariance, target, valid)
                found.add("covariance", losses.covariance_loss(*args), weight)
            found.add("unsure", unsure_loss(state, valid), 1.0)
            state = clamp_output(state)
            finals.append(state)
        result = found.result()
        path = torch.stack([s.position for s in finals], 1)
        spread = torch.stack([s.covariance for s in finals], 1)
        if len(finals) > 1:
            result["first_difference"] = losses.first_difference_loss(path, spread, batch.targets, batch.valid)
        if len(finals) > 2:
            result["second_difference"] = losses.second_difference_loss(path, spread, batch.targets, batch.valid)
        if weights.flip > 0:
            (straight, mirrored), known = path.chunk(2), batch.valid.chunk(2)[0]
            result["flip"] = losses.flip_loss(straight, mirrored, known)
        if weights.maps > 0:
            first = [level[0] for level in levels]
            kernels = self.model.config.correlation_kernels
            result["maps"] = losses.map_cross_entropy(first, batch.targets[:, 0], batch.valid[:, 0], kernels)
        result["total"] = sum((getattr(weights, k) * v for k, v in result.items()), path.new_zeros(()))
        return result

    def _extract(self, batch: Batch) -> tuple[list[tuple[Tensor, ...]], tuple[Tensor, ...], Queries]:
        """Return per level and frame maps (B, K, N, H, W), per frame context (B, C), and the queries."""
        b, frames = batch.images.shape[:2]
        images = batch.images.flatten(0, 1).to(batch.points.dtype).div_(255)
        images = normalise_image(images).to(memory_format=torch.channels_last)
        queries = self.model.encode(batch.points)
        pyramid, context = self.model.pyramid(self.model.backbone(images))
        # unbind, because the gradient of a slice is a whole tensor of zeros around it
        levels = [
            correlation_maps(f.unflatten(0, (b, frames)), t).unbind(1)
            for f, t in zip(pyramid, queries.templates, strict=True)
        ]
        return levels, context.unflatten(0, (b, frames)).unbind(1), queries

    def _refine(
        self, maps: list[Tensor], context: Tensor, queries: Queries, state: TensorState, mask: Tensor
    ) -> TensorState:
        """Take one step; gradients stop at the position it starts from."""
        state = state._replace(position=state.position.detach())
        kernels, window = self.model.config.correlation_kernels, self.model.config.window
        patches = [_look_up(m, state.position, r, window) for m, r in zip(maps, kernels, strict=True)]
        return advance(state, self.model.refiner(patches, queries.identity, context, state, mask), None)

    def _draw(self, batch: Batch) -> tuple[TensorState, Tensor, Tensor]:
        """Return the start, the write mask (B, N) and which frames forget the state (B, L)."""
        _, frames, n = batch.valid.shape
        chances, width = self.chances, self.model.config.hidden_width
        position, masks, forgets = [], [], []
        cold = cold_start(batch.points, width)
        for i, seed in enumerate(batch.seeds.tolist()):
            g = torch.Generator().manual_seed(seed)

            def normal(*shape: int, g: torch.Generator = g) -> Tensor:
                return torch.randn(*shape, generator=g).to(cold.position)

            at, kind = cold.position[i], torch.rand((), generator=g).item()
            if kind < chances.wild:
                moved = (torch.rand(n, 1, generator=g) < 0.2).to(at)
                at = at * (1 + 0.5 * normal(1)) + 0.4 * normal(2) + 0.05 * moved * normal(n, 2)
            elif kind < chances.wild + chances.near and batch.valid[i, 0].any():
                error = chances.near_error
                at = torch.where(batch.valid[i, 0, :, None], batch.targets[i, 0], at)
                at = at + error * (normal(2) + 0.5 * normal(n, 2))
            position.append(at)
            masks.append(torch.rand(n, generator=g) < chances.masked)
            forgets.append(torch.rand(frames, generator=g) < chances.reset)
        start = cold._replace(position=torch.stack(position))
        device = batch.points.device
        return start, torch.stack(masks).to(device), torch.stack(forgets).to(device)


def correlation_maps(features: Tensor, template: Tensor) -> Tensor:
    """Correlate as one matrix product per clip and head, which trains several times faster than a grouped convolution.

    (B, L, C, H, W), (B, N, K, C/K, R, R) -> (B, L, K, N, H', W'): as `correlation_map` of each frame, heads first.
    """
    height, width = features.shape[-2:]
    k, r = template.shape[2], template.shape[-1]
    h, w = height - r + 1, width - r + 1
    split = features.unflatten(2, (k, -1))  # (B, L, K, C/K, H, W)
    taps = [split[..., y : y + h, x : x + w].flatten(-2) for y in range(r) for x in range(r)]
    kernels = template.permute(0, 2, 1, 4, 5, 3).flatten(3)  # (B, K, N, R^2 C/K)
    maps = kernels[:, None] @ (torch.cat(taps, 3) if r > 1 else taps[0])  # (B, L, K, N, H' W')
    return maps.unflatten(-1, (h, w))


def _look_up(maps: Tensor, position: Tensor, kernel: int, window: int) -> Tensor:
    """`lookup_dense` on maps (B, K, N, H, W) as they are in memory: every head counts as a landmark of its own."""
    k = maps.shape[1]
    patches = lookup_dense(maps.flatten(1, 2).unsqueeze(3), position.repeat(1, k, 1), kernel, window)
    return patches.squeeze(3).unflatten(1, (k, -1)).transpose(1, 2)


def unsure_loss(state: TensorState, valid: Tensor) -> Tensor:
    """In frames without a face: log sigmas and artanh rho back to the cold start's 0, and no displacement.

    A network that has seen only faces reports small sigmas everywhere, and its positions wander; one that has seen a
    face only come, not go, stays sure of one that has left.

    Args:
        state: after a frame.
        valid: (B, N) of that frame.
    """
    error = state.covariance.square().sum(-1) + state.delta.square().sum(-1)
    return losses.masked_mean(error.mean(-1), ~valid.any(-1))


def with_mirrored(batch: Batch) -> Batch:
    """Replace the second half of a batch by the mirror images of the first; same seeds, so the same masks."""
    half = len(batch.images) // 2
    if not half:
        raise ValueError("flip consistency needs at least two clips in a batch")
    first = Batch(*(x[:half] for x in batch))
    sign = batch.points.new_tensor([-1.0, 1.0, 1.0])
    mirrored = first._replace(
        images=first.images.flip(-1), points=first.points * sign, targets=first.targets * sign[:2]
    )
    return Batch(*(torch.cat(pair) for pair in zip(first, mirrored, strict=True)))


def _where(chosen: Tensor, fresh: TensorState, old: TensorState) -> TensorState:
    """Per sample: fresh where chosen (B,), else old."""
    return TensorState(*(torch.where(chosen[:, None, None], a, b) for a, b in zip(fresh, old, strict=True)))


class _Mean:
    """Weighted means of losses that come one iteration at a time."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, name: str, value: Tensor, weight: float) -> None:
        self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + weight * value
        self._weights[name] = self._weights.get(name, 0.0) + weight

    def result(self) -> Losses:
        return {k: v / self._weights[k] for k, v in self._sums.items()}
