"""Normalisations: statistics and result in float32, rounded once."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from qlot.mil.registry import computes


@computes("layer_norm")
def _layer_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    axes: Sequence[int] | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    over = sorted(a % x.ndim for a in (axes if axes is not None else range(x.ndim)))
    if over == list(range(x.ndim - len(over), x.ndim)):
        return F.layer_norm(x, [x.shape[a] for a in over], gamma, beta, epsilon)
    mean = x.mean(over, keepdim=True)
    variance = x.var(over, correction=0, keepdim=True)
    shape = [x.shape[a] if a in over else 1 for a in range(x.ndim)]
    y = (x - mean) / (variance + epsilon).sqrt()
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


@computes("batch_norm")
def _batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    epsilon: float = 1e-5,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=epsilon)


@computes("instance_norm")
def _instance_norm(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, *, epsilon: float = 1e-5
) -> Tensor:
    """Over the axes after the first two; one element there becomes beta, which PyTorch's operator refuses."""
    over, shape = list(range(2, x.ndim)), [-1, *[1] * (x.ndim - 2)]
    y = (x - x.mean(over, keepdim=True)) / (x.var(over, correction=0, keepdim=True) + epsilon).sqrt()
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


@computes("local_response_norm")
def _local_response_norm(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Over `size` neighbouring channels, of which an even size has one more before than after, as in PyTorch."""
    return F.local_response_norm(x, size, alpha, beta, k)


@computes("l2_norm")
def _l2_norm(x: Tensor, *, epsilon: float = 1e-6) -> Tensor:
    return x / (x.square().sum((-3, -2, -1), keepdim=True) + epsilon).sqrt()
