"""Kernels by family; importing this package fills `qlot.mil.registry.KERNELS`."""

from __future__ import annotations

from qlot.mil.ops import convolution, elementwise, indexing, linear, norms, quantisation, reductions, resize, shapes

__all__ = [
    "convolution",
    "elementwise",
    "indexing",
    "linear",
    "norms",
    "quantisation",
    "reductions",
    "resize",
    "shapes",
]
