"""A quick look at a network while it trains: faces of other people from disturbed crops, in PyTorch, in batches.

The full evaluation, also of exported bundles, is `qlot eval`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qlot.metrics import coverage, failure_rate, interocular, nme
from qlot.model.layout import load_layout
from qlot.model.qlot import QLOT
from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.crop import sample_crop
from qlot.training.data.clip import DataError
from qlot.training.data.crops import rule_box
from qlot.training.data.sources.stills import LABEL_OFFSET, LabelledFaces
from qlot.training.fit.losses import covariance_matrices

SEED, SCALE, SHIFT, ITERATIONS, BATCH = 0, 0.15, 0.10, 4, 24
FACES = "faces/faces_val.npz"


class Validation:
    """Measures networks of one input size on the same crops.

    Args:
        data: folder with `faces/faces_val`.
        size: side S of the network input.
        most: number of faces, evenly spread.

    Raises:
        DataError: no such faces.
    """

    def __init__(self, data: Path, size: int, most: int = 360) -> None:
        try:
            faces, rng = LabelledFaces(data / FACES, offset=LABEL_OFFSET), np.random.default_rng(SEED)
        except DataError as e:
            raise DataError(f"{e} To train without validation: --no-validate.") from e
        self._layout, self._size = load_layout(faces.labels), size
        crops, targets = [], []
        for i in range(0, len(faces), max(1, len(faces) // most)):
            clip = faces.clip(i, 1, rng)
            box = rule_box(clip, 0)
            scale, shift = 1 + rng.uniform(-SCALE, SCALE), rng.uniform(-SHIFT, SHIFT, 2) * box.side
            box = CropBox(box.center_x + shift[0], box.center_y + shift[1], box.side * scale)
            crops.append((sample_crop(clip.frames[0], box, size)[0] * 255).round().astype(np.uint8))
            targets.append((clip.landmarks[0] - (box.center_x, box.center_y)) * (2 / box.side))
        self._crops, self._targets = torch.from_numpy(np.stack(crops)), np.stack(targets)

    @torch.no_grad()
    def __call__(self, model: QLOT) -> dict[str, float]:
        """Return NME and FR@10 (outer eyes) and the share inside the 90 % ellipse, in percent."""
        found, spread = [], []
        device = next(model.parameters()).device
        points = torch.tensor(self._layout.points, dtype=torch.float32, device=device)
        for crops in self._crops.split(BATCH):
            images = (crops.to(device).float() / 255).to(memory_format=torch.channels_last)
            last = model(images, points.expand(len(crops), -1, -1), iterations=ITERATIONS)[-1]
            found.append(_numpy(last.position))
            spread.append(_numpy(covariance_matrices(last.covariance)))
        predicted, S = np.concatenate(found), np.concatenate(spread)
        assert self._layout.outer_eyes is not None
        errors = nme(predicted, self._targets, interocular(self._targets, self._layout.outer_eyes))
        return {
            "nme": 100 * float(errors.mean()),
            "fr10": 100 * failure_rate(errors),
            "inside90": 100 * coverage(predicted - self._targets, S, 0.9),
        }


def _numpy(x: Tensor) -> NDArray[np.float64]:
    return x.cpu().double().numpy()
