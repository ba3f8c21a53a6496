"""Weights of Core ML packages stored in few bits, by coremltools' own compressions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qlot.export.graphs.schemes import Arithmetic
from qlot.export.targets.coreml.program import Product
from qlot.runtime.quiet import quiet

with quiet():
    from coremltools.optimize import coreml as cto

BLOCK = 32  # input channels that share a scale, at most


def compress(model: Any, weights: Sequence[tuple[Product, Arithmetic]]) -> Any:
    """Return a converted model whose weights are stored as their products' arithmetic wants; others are left alone.

    Args:
        model: `MLModel` with plain constants for these weights.
        weights: each product with the arithmetic it is to have.
    """
    linear = {p.weight: _LINEAR[wanted](p) for p, wanted in weights if wanted in _LINEAR}
    palettes = {p.weight: _palette(_BITS[wanted]) for p, wanted in weights if wanted in _BITS}
    if linear:
        model = cto.linear_quantize_weights(model, cto.OptimizationConfig(op_name_configs=linear))
    if palettes:
        with warnings.catch_warnings():  # of k-means, where a layer has fewer different values than the palette
            warnings.simplefilter("ignore")
            model = cto.palettize_weights(model, cto.OptimizationConfig(op_name_configs=palettes))
    return model


def _int8(_: Product) -> Any:
    """Symmetric, one scale per output channel."""
    return cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=0
    )


def _int4(product: Product) -> Any:
    """Symmetric, one scale for each output channel and block of input channels: the largest that divides evenly."""
    channels = product.shape[1]
    block = next(n for n in range(min(BLOCK, channels), 0, -1) if channels % n == 0)
    return cto.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int4",
        granularity="per_block",
        block_size=(1, block, *[0] * (len(product.shape) - 2)),
        weight_threshold=0,
    )


def _palette(bits: int) -> Any:
    """One palette of 2^bits values per layer, found by k-means from a fixed start."""
    return cto.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=0)


_LINEAR: Mapping[Arithmetic, Callable[[Product], Any]] = {"int8": _int8, "int8 weights": _int8, "int4 weights": _int4}
_BITS: Mapping[Arithmetic, int] = {"6-bit palette weights": 6, "4-bit palette weights": 4}
