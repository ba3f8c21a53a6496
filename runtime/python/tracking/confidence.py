"""How sure the tracker is that a crop shows a face: a logistic function of what the network says about itself.

A network that sees no face predicts wide covariances. The residual of the fit, quantiles over landmarks and the last
displacement were tried beside their mean and added nothing dependable. The constants come with the weights.
"""

from __future__ import annotations

import math

import numpy as np

from qlot.runtime.bundle.manifest import ConfidenceSpec
from qlot.runtime.geometry import FloatArray
from qlot.runtime.tracking.crop import Fit


def log_spread(landmarks: FloatArray, fit: Fit) -> float:
    """Return ln of the landmarks' mean uncertainty in canonical units, so that the size of the face does not matter.

    Args:
        landmarks: (1, N, 7) of a state in crop pixels.
        fit: their fit in the same pixels; it must be sound.
    """
    return float(landmarks[0, :, 2:4].mean(dtype=np.float64)) - math.log(fit.scale)


def confidence(landmarks: FloatArray, fit: Fit, spec: ConfidenceSpec) -> float:
    """Return the confidence in 0..1; 0 where the fit is not sound or a number is not finite."""
    if not (fit.sound and np.isfinite(landmarks).all()):
        return 0.0
    return logistic(spec.bias + spec.w_spread * log_spread(landmarks, fit))


def logistic(z: float) -> float:
    """Return 1 / (1 + exp(-z)) without overflow."""
    e = math.exp(-abs(z))
    return (1 if z >= 0 else e) / (1 + e)
