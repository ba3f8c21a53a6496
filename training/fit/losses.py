"""The losses of QLOT, each a function of plain tensors; all ignore landmarks that are not valid.

Source: Gschwind, Weisenhorn, Badertscher, "QLOT: Queried Learned Optimization for Face Landmark Tracking" (OST, 2026),
except for the cross-entropy on correlation maps, which starts a backbone from scratch.

Covariances are the network's numbers (..., 3): log sigma_x, log sigma_y, artanh rho, in the unit of the positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_SIGMA = math.exp(-10.0)  # normalised: the clamp of the network's output
MOST_RHO = 0.999


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over what is valid, 0 if nothing is. (...), bool (...) -> ()."""
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def position_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean distance |x - x*| (the L2 norm, not its square). (..., 2), (..., 2), (...) -> ()."""
    return masked_mean((predicted - target).square().sum(-1).add(1e-12).sqrt(), valid)


def shape_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean distance of a part's landmarks from the target once the part lies where the target does.

    How far lids are apart and where in the eye a pupil is, whatever the error of the whole. (..., N, 2), (..., N, 2),
    (..., N) of the part alone -> ().
    """
    off = torch.where(valid[..., None], predicted - target, 0.0)
    count = valid.sum(-1, keepdim=True)
    off = off - (off.sum(-2) / count.clamp(min=1))[..., None, :]
    return masked_mean(off.square().sum(-1).add(1e-12).sqrt(), valid & (count > 1))


def covariance_matrices(parameters: Tensor) -> Tensor:
    """Return [[sx^2, rho sx sy], [., sy^2]]. (..., 3) -> (..., 2, 2), float32 at least: bfloat16 rounds 0.999 to 1."""
    parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))
    sx, sy = parameters[..., :2].exp().clamp(min=LEAST_SIGMA).unbind(-1)
    rho = parameters[..., 2].tanh().clamp(-MOST_RHO, MOST_RHO)
    cross = rho * sx * sy
    return torch.stack([sx * sx, cross, cross, sy * sy], -1).unflatten(-1, (2, 2))


def gaussian_nll(residual: Tensor, covariance: Tensor, valid: Tensor) -> Tensor:
    """Mean of 1/2 (r^T S^-1 r + ln det S), without the constant ln 2 pi; finite for sigmas up to e^20 in float32.

    residual (..., 2), S (..., 2, 2), valid (...) -> ().
    """
    a, b, d = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    determinant = (a * d - b * b).clamp(min=LEAST_SIGMA**4)
    x, y = residual.unbind(-1)
    squared = (d * x * x - 2 * b * x * y + a * y * y) / determinant
    return masked_mean(0.5 * (squared + determinant.log()), valid)


def covariance_loss(predicted: Tensor, parameters: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """NLL of the residual under the predicted covariance; the residual is detached: it trains the covariance only."""
    return gaussian_nll((predicted - target).detach(), covariance_matrices(parameters), valid)


def first_difference_loss(predicted: Tensor, parameters: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """NLL of x_l - x_(l-1) against the target's, under S_l + S_(l-1), detached: steadiness where one is sure.

    (B, L, N, 2), (B, L, N, 3), (B, L, N, 2), (B, L, N) -> (); L >= 2. Earlier positions are detached.
    """
    S = covariance_matrices(parameters).detach()
    moved = predicted[:, 1:] - predicted[:, :-1].detach()
    residual = moved - (target[:, 1:] - target[:, :-1])
    return gaussian_nll(residual, S[:, 1:] + S[:, :-1], valid[:, 1:] & valid[:, :-1])


def second_difference_loss(predicted: Tensor, parameters: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """NLL of x_l - 2 x_(l-1) + x_(l-2) against the target's, under S_l + 4 S_(l-1) + S_(l-2), detached; L >= 3."""
    S = covariance_matrices(parameters).detach()
    old = predicted.detach()
    bent = predicted[:, 2:] - 2 * old[:, 1:-1] + old[:, :-2]
    residual = bent - (target[:, 2:] - 2 * target[:, 1:-1] + target[:, :-2])
    known = valid[:, 2:] & valid[:, 1:-1] & valid[:, :-2]
    return gaussian_nll(residual, S[:, 2:] + 4 * S[:, 1:-1] + S[:, :-2], known)


def flip_loss(predicted: Tensor, mirrored: Tensor, valid: Tensor) -> Tensor:
    """Mean distance between positions and those of the mirrored picture, mirrored back (x -> -x).

    (..., N, 2) of the picture and of its mirror image for the mirrored query points, in the same order.
    """
    return position_loss(predicted, mirrored * mirrored.new_tensor([-1.0, 1.0]), valid)


def map_cross_entropy(maps: Sequence[Tensor], target: Tensor, valid: Tensor, kernels: Sequence[int]) -> Tensor:
    """Cross-entropy of each level's summed correlation map with the target's bilinear weights on it, mean of levels.

    Args:
        maps: per level (B, K, N, H, W), W = W_features - R + 1.
        target: (B, N, 2) normalised.
        valid: (B, N); targets outside the image do not count.
        kernels: R of each level.
    """
    inside = valid & (target.abs() < 1).all(-1)
    losses = []
    for level, kernel in zip(maps, kernels, strict=True):
        size = level.shape[-1]
        at = (target * ((size + kernel - 1) / 2) + (size - 1) / 2).clamp(0, size - 1)
        pixels = torch.arange(size, device=at.device, dtype=at.dtype)
        tents = (1 - (at[..., None] - pixels).abs()).clamp(min=0)  # (B, N, 2, W)
        wanted = tents[:, :, 1, :, None] * tents[:, :, 0, None, :]
        surprise = -(wanted.flatten(2) * F.log_softmax(level.sum(1).flatten(2), -1)).sum(-1)
        losses.append(masked_mean(surprise / math.log(size * size), inside))
    return torch.stack(losses).mean()
