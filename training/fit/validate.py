"""A quick look at a network while it trains: faces of other people from disturbed crops, in PyTorch, in batches.

The full evaluation, also of exported bundles, is `qlot eval`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qlot.metrics import aperture, bend, correlation, coverage, eye_corners, failure_rate, interocular, nme
from qlot.model.layout import Layout, load_layout
from qlot.model.qlot import QLOT
from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.crop import sample_crop
from qlot.training.data.clip import DataError
from qlot.training.data.crops import rule_box
from qlot.training.data.sources.stills import LABEL_OFFSET, LabelledFaces
from qlot.training.data.sources.video import TEACHER
from qlot.training.fit.losses import covariance_matrices

SEED, SCALE, SHIFT, ITERATIONS, BATCH = 0, 0.15, 0.10, 4, 24
FACES, TABLE = "faces/faces_val.npz", "faces/faces_val_tta.npz"
SIDES = "right", "left"


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
            table = data / TABLE
            teacher = LabelledFaces(data / FACES, TEACHER, table=table) if table.exists() else None
        except DataError as e:
            raise DataError(f"{e} To train without validation: --no-validate.") from e
        self._size = size
        crops, targets, lids = [], [], []
        for i in range(0, len(faces), max(1, len(faces) // most)):
            clip = faces.clip(i, 1, rng)
            box = rule_box(clip, 0)
            scale, shift = 1 + rng.uniform(-SCALE, SCALE), rng.uniform(-SHIFT, SHIFT, 2) * box.side
            box = CropBox(box.center_x + shift[0], box.center_y + shift[1], box.side * scale)
            crops.append((sample_crop(clip.frames[0], box, size)[0] * 255).round().astype(np.uint8))
            targets.append((clip.landmarks[0] - (box.center_x, box.center_y)) * (2 / box.side))
            if teacher:
                lids.append((teacher.landmarks[i] - (box.center_x, box.center_y)) * (2 / box.side))
        self._crops, self._targets = torch.from_numpy(np.stack(crops)), np.stack(targets)
        self._teacher = np.stack(lids) if lids else None

    def __call__(self, model: QLOT) -> dict[str, float]:
        """Return NME and FR@10 (outer eyes), the share inside the 90 % ellipse and how much jaws bend, in percent.

        `jaw` is the median over the canonical face's, of wflw98. Where the teacher's labels are there: `teacher`, the
        NME against them, and `aperture`, 100 times the correlation of how far eyes are open.
        """
        layout = load_layout("ibug68")
        predicted, S = self._predict(model, layout)
        found = {
            "nme": 100 * _error(predicted, self._targets, layout),
            "fr10": 100 * failure_rate(_errors(predicted, self._targets, layout)),
            "inside90": 100 * coverage(predicted - self._targets, S, 0.9),
        }
        layout = load_layout("wflw98")
        jaw = list(layout.groups["jaw"])
        bends = bend(self._predict(model, layout)[0][:, jaw])
        found["jaw"] = 100 * float(np.median(bends) / bend(layout.points[None, jaw, :2])[0])
        if self._teacher is not None:
            layout = load_layout(TEACHER)
            predicted, _ = self._predict(model, layout)
            found["teacher"] = 100 * _error(predicted, self._teacher, layout)
            found["aperture"] = 100 * float(np.mean([_aperture_r(predicted, self._teacher, layout, s) for s in SIDES]))
        return found

    @torch.no_grad()
    def _predict(self, model: QLOT, layout: Layout) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return positions (F, N, 2), normalised, and covariances (F, N, 2, 2)."""
        found, spread = [], []
        device = next(model.parameters()).device
        points = torch.tensor(layout.points, dtype=torch.float32, device=device)
        for crops in self._crops.split(BATCH):
            images = (crops.to(device).float() / 255).to(memory_format=torch.channels_last)
            last = model(images, points.expand(len(crops), -1, -1), iterations=ITERATIONS)[-1]
            found.append(_numpy(last.position))
            spread.append(_numpy(covariance_matrices(last.covariance)))
        return np.concatenate(found), np.concatenate(spread)


def _errors(found: NDArray[np.float64], true: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    assert layout.outer_eyes is not None
    return nme(found, true, interocular(true, layout.outer_eyes))


def _error(found: NDArray[np.float64], true: NDArray[np.float64], layout: Layout) -> float:
    return float(_errors(found, true, layout).mean())


def _aperture_r(found: NDArray[np.float64], true: NDArray[np.float64], layout: Layout, side: str) -> float:
    ring = layout.groups[f"{side}_eye"]
    corners = eye_corners(ring, layout.points)
    return correlation(aperture(found, ring, corners), aperture(true, ring, corners)) or 0.0


def _numpy(x: Tensor) -> NDArray[np.float64]:
    return x.cpu().double().numpy()
