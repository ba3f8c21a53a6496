"""How far a replay on one kind of processor may be from the same replay on another.

Float kernels differ by the order of their sums, 1e-5 px. In w8a8 the integers are the same everywhere, but a float in
front of them that lies on a rounding border falls to one side here and to the other there. Within a free run, one such
step of one value changes the rounding of all that follows: two correct runs drift apart by their rounding noise. What
must agree is therefore each step from equal inputs, which the first one is, and the run as a whole in its median.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlot.benchmarks.arm.recording import Recording
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import Scheme

ALLOWED = 0.05  # px of the network input


@dataclass(frozen=True)
class Agreement:
    """Distances between two recordings of a bundle, px of the network input.

    Attributes:
        first: largest after the first step, which both start from the same state and crop.
        median: of all frames, steps and landmarks.
        largest: of the same.
        scheme: of the bundle.
    """

    first: float
    median: float
    largest: float
    scheme: Scheme

    @property
    def passed(self) -> bool:
        """Whether they agree: in every landmark, or with integers in the first step's and in the median."""
        return max(self.first, self.median if self.scheme == "w8a8" else self.largest) <= ALLOWED


def agreement(found: Recording, host: Recording, golden: GoldenSequence, scheme: Scheme) -> Agreement:
    """Compare two recordings of a bundle. What is not finite counts as infinitely far."""
    steps = np.arange(golden.landmarks.shape[1]) < golden.steps[:, None]
    off = found.landmarks[steps][..., :2].astype(np.float64) - host.landmarks[steps][..., :2]
    distances = np.nan_to_num(np.hypot(off[..., 0], off[..., 1]), nan=np.inf)
    return Agreement(float(distances[0].max()), float(np.median(distances)), float(distances.max()), scheme)
