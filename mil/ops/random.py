"""Random numbers: of the right shape and distribution, but never those of Core ML, whose generator is not documented.

With a seed other than -1 an operation draws the same numbers at each run; without, it draws from PyTorch's generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from qlot.mil.registry import computes


@computes("random_bernoulli")
def _random_bernoulli(*, shape: Sequence[int], prob: float = 0.5, seed: int = -1) -> Tensor:
    return (torch.rand(list(shape), generator=_generator(seed)) < prob).float()


@computes("random_normal")
def _random_normal(*, shape: Sequence[int], mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> Tensor:
    return mean + stddev * torch.randn(list(shape), generator=_generator(seed))


@computes("random_uniform")
def _random_uniform(*, shape: Sequence[int], low: float = 0.0, high: float = 1.0, seed: int = -1) -> Tensor:
    return low + (high - low) * torch.rand(list(shape), generator=_generator(seed))


@computes("random_categorical")
def _random_categorical(
    x: Tensor, *, mode: Literal["logits", "probs"] = "logits", size: int = 1, seed: int = -1
) -> Tensor:
    """Draw `size` classes for each row of the last axis."""
    weights = torch.softmax(x, -1) if mode == "logits" else x
    drawn = torch.multinomial(weights.reshape(-1, x.shape[-1]), size, replacement=True, generator=_generator(seed))
    return drawn.reshape((*x.shape[:-1], size))


def _generator(seed: int) -> torch.Generator | None:
    return None if seed == -1 else torch.Generator().manual_seed(seed)
