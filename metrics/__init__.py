"""How good and how steady landmarks are, in numpy alone; `faceless` has pictures to err on, and needs OpenCV."""

from qlot.metrics.accuracy import area_under_curve, areas, face_size, failure_rate, failures, interocular, nme
from qlot.metrics.bootstrap import mean_interval
from qlot.metrics.calibration import coverage, mahalanobis_squared
from qlot.metrics.lag import SineFit, fit_sine, overshoot, ramp_lag, sine_gain, sine_lag
from qlot.metrics.shape import (
    aperture,
    bend,
    blink_depth,
    correlation,
    curve_distance,
    eye_corners,
    followed,
    pupil_place,
)
from qlot.metrics.stability import longest_run, nad, nad_curve, nmf, second_difference

__all__ = [
    "SineFit", "aperture", "area_under_curve", "areas", "bend", "blink_depth", "correlation", "coverage",
    "curve_distance", "eye_corners", "face_size", "failure_rate", "failures", "fit_sine", "followed", "interocular",
    "longest_run", "mahalanobis_squared", "mean_interval", "nad", "nad_curve", "nme", "nmf", "overshoot", "pupil_place",
    "ramp_lag", "second_difference", "sine_gain", "sine_lag",
]  # fmt: skip
