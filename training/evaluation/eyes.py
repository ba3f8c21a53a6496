"""How a tracked clip's eyes follow the labels'."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qlot.metrics import aperture, blink_depth, correlation, eye_corners, followed, pupil_place
from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.training.data.clip import Array
from qlot.training.evaluation.results import EyesResult

SIDES = ("right", "left")
LEAST_FRAMES = 10


def eyes_of(predictions: Array, labels: Array, valid: NDArray[np.bool_], layout: LayoutSpec) -> EyesResult | None:
    """Compare the eyes over the frames in which all of them are predicted and labelled.

    Args:
        predictions: (T, N, 2).
        labels: (T, N, 2).
        valid: (T, N) both are known.
        layout: its groups `right_eye` and `left_eye` go around the lids; `right_pupil` and `left_pupil` may be there.

    Returns:
        None if the layout has no such groups, or too few frames are left.
    """
    rings = [layout.groups.get(f"{side}_eye") for side in SIDES]
    if not all(rings):
        return None
    points = np.array(layout.points)
    apertures, pupils = list[tuple[Array, Array]](), list[tuple[Array, Array]]()
    for side, ring in zip(SIDES, rings, strict=True):
        assert ring is not None
        corners = eye_corners(ring, points)
        pupil = layout.groups.get(f"{side}_pupil")
        used = valid[:, [*ring, *(pupil or ())]].all(1)
        if used.sum() < LEAST_FRAMES:
            return None
        found, true = predictions[used], labels[used]
        apertures.append((aperture(found, ring, corners), aperture(true, ring, corners)))
        if pupil:
            pupils.append((pupil_place(found, pupil[0], corners), pupil_place(true, pupil[0], corners)))
    return EyesResult(
        aperture_r=_mean(correlation, apertures), blink_depth=_mean(blink_depth, apertures),
        pupils=_mean(followed, pupils),
    )  # fmt: skip


def _mean(measure: Callable[[Array, Array], float | None], pairs: list[tuple[Array, Array]]) -> float | None:
    values = [value for found, true in pairs if (value := measure(found, true)) is not None]
    return float(np.mean(values)) if values else None
