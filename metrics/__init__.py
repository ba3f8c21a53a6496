"""How good and how steady landmarks are, in numpy alone."""

from qlot.metrics.accuracy import area_under_curve, face_size, failure_rate, interocular, nme
from qlot.metrics.calibration import coverage, mahalanobis_squared
from qlot.metrics.stability import nad, nmf, second_difference

__all__ = [
    "area_under_curve", "coverage", "face_size", "failure_rate", "interocular", "mahalanobis_squared", "nad", "nme",
    "nmf", "second_difference",
]  # fmt: skip
