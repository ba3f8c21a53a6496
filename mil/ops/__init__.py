"""Kernels by family; importing this package fills `qlot.mil.registry.KERNELS`."""

from __future__ import annotations

from qlot.mil.ops import (
    blocks,
    convolution,
    detection,
    elementwise,
    gathers,
    indexing,
    linear,
    lists,
    norms,
    pooling,
    quantisation,
    random,
    recurrent,
    reductions,
    resize,
    sampling,
    shapes,
)

__all__ = [
    "blocks",
    "convolution",
    "detection",
    "elementwise",
    "gathers",
    "indexing",
    "linear",
    "lists",
    "norms",
    "pooling",
    "quantisation",
    "random",
    "recurrent",
    "reductions",
    "resize",
    "sampling",
    "shapes",
]
