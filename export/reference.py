"""Float32 PyTorch as the stages of the recurrence: what every bundle is held against."""

from __future__ import annotations

import torch

from qlot.model.layout import Layout
from qlot.model.qlot import QLOT, Features
from qlot.model.state import from_pixels
from qlot.runtime import recurrence
from qlot.runtime.result import FloatArray
from qlot.runtime.state import State


def write_mask(layout: Layout) -> torch.Tensor | None:
    """Landmarks that must not write into the mixer as a bool mask (N,); None if all may."""
    if not layout.write_mask:
        return None
    mask = torch.zeros(len(layout), dtype=torch.bool)
    mask[list(layout.write_mask)] = True
    return mask


class TorchStages:
    """A PyTorch model for one layout, driven by the runtime's own host code.

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
        return f"PyTorch {torch.__version__}, float32"

    @torch.inference_mode()
    def extract(self, image: FloatArray) -> recurrence.Features:
        """Run the extractor on an image (1, 3, S, S), RGB in [0, 1]."""
        features = self._model.extract(torch.from_numpy(image), self._queries)
        named = {f"level_{i}": level.numpy() for i, level in enumerate(features.levels)}
        return {**named, "context": features.context.numpy()}

    @torch.inference_mode()
    def refine(self, features: recurrence.Features, state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run one step: displacement (1, N, 2) px before the gate, covariance (1, N, 3), hidden (1, N, C)."""
        levels = tuple(torch.from_numpy(features[f"level_{i}"]) for i in range(self._model.config.levels))
        inner = from_pixels(torch.from_numpy(state.landmarks), torch.from_numpy(state.hidden), self.size)
        context = torch.from_numpy(features["context"])
        update = self._model.refine(Features(levels, context), self._queries, inner, self._mask)
        half = self.size / 2
        covariance = update.covariance + torch.log(torch.tensor([half, half, 1.0]))
        return (update.delta * half).numpy(), covariance.numpy(), update.hidden.numpy()
