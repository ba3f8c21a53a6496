"""Float32 PyTorch behind the interface that the graphs of a bundle have: numpy in pixels of the network input.

What every bundle is held against, and what evaluates weights before there is a bundle. The recurrence itself (gate,
addition, clamps) is the host's: `TorchNetwork` satisfies `qlot.runtime.network.recurrence.Network` by its form, so that
this room needs nothing of the runtime's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qlot.model.layout import Layout
from qlot.model.qlot import QLOT, Features
from qlot.model.state import from_pixels

FloatArray = NDArray[np.float32]
ENGINE = f"PyTorch {torch.__version__}, float32"


class HostState(Protocol):
    """The state a caller carries: landmarks (1, N, 7) in pixels of the input and hidden (1, N, C), float32."""

    @property
    def landmarks(self) -> FloatArray:
        """x, y, log sigma x, log sigma y, artanh rho, dx, dy."""

    @property
    def hidden(self) -> FloatArray:
        """The recurrent hidden state."""


def write_mask(layout: Layout) -> torch.Tensor | None:
    """Landmarks that must not write into the mixer as a bool mask (N,); None if all may."""
    if not layout.write_mask:
        return None
    mask = torch.zeros(len(layout), dtype=torch.bool)
    mask[list(layout.write_mask)] = True
    return mask


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread, also as a decorator.

    A stage is too small to gain from two. Where another program has one of two cores, they wait for each other: a call
    of `nano`'s extractor took 171 ms instead of 19.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TorchNetwork:
    """A PyTorch model for one layout, driven by a caller's host code.

    The model is not fused, so that the replay of a bundle also checks the folding.
    """

    def __init__(self, model: QLOT, layout: Layout) -> None:
        self._model = model.eval()
        self.size = model.config.image_size
        mask = write_mask(layout)
        self._mask = None if mask is None else mask[None]
        with torch.inference_mode():
            self._queries = model.encode(torch.tensor(layout.points, dtype=torch.float32)[None])

    @property
    def engine(self) -> str:
        """What runs the network."""
        return ENGINE

    @torch.inference_mode()
    def extract(self, image: FloatArray) -> Mapping[str, FloatArray]:
        """Run the extractor on an image (1, 3, S, S), RGB in [0, 1]."""
        features = self._model.extract(torch.from_numpy(image), self._queries)
        named = {f"level_{i}": level.numpy() for i, level in enumerate(features.levels)}
        return {**named, "context": features.context.numpy()}

    @torch.inference_mode()
    def refine(self, features: Mapping[str, FloatArray], state: HostState) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run one step: displacement (1, N, 2) px before the gate, covariance (1, N, 3), hidden (1, N, C)."""
        levels = tuple(torch.from_numpy(features[f"level_{i}"]) for i in range(self._model.config.levels))
        inner = from_pixels(torch.from_numpy(state.landmarks), torch.from_numpy(state.hidden), self.size)
        context = torch.from_numpy(features["context"])
        update = self._model.refine(Features(levels, context), self._queries, inner, self._mask)
        half = self.size / 2
        covariance = update.covariance + torch.log(torch.tensor([half, half, 1.0]))
        return (update.delta * half).numpy(), covariance.numpy(), update.hidden.numpy()
