"""How far a replay on one kind of processor may be from the same replay on another.

Integers are the same everywhere, floats differ by the order of their sums: 1e-5 px after a step. A bundle whose
integers lie behind such floats would turn one of their bits into half a pixel now and then, and fails.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlot.benchmarks.arm.recording import Recording
from qlot.runtime.bundle.golden import GoldenSequence

ALLOWED = 0.05  # px of the network input


@dataclass(frozen=True)
class Agreement:
    """Distances between two recordings of a bundle, px of the network input.

    Attributes:
        median: of all frames, steps and landmarks.
        largest: of the same.
    """

    median: float
    largest: float

    @property
    def passed(self) -> bool:
        """Whether they agree in every landmark of every frame."""
        return self.largest <= ALLOWED


def agreement(found: Recording, host: Recording, golden: GoldenSequence) -> Agreement:
    """Compare two recordings of a bundle. What is not finite counts as infinitely far."""
    steps = np.arange(golden.landmarks.shape[1]) < golden.steps[:, None]
    off = found.landmarks[steps][..., :2].astype(np.float64) - host.landmarks[steps][..., :2]
    distances = np.nan_to_num(np.hypot(off[..., 0], off[..., 1]), nan=np.inf)
    return Agreement(float(np.median(distances)), float(distances.max()))
