"""What is measured on a clip: flicker at rest, lag behind a motion, and how much of the motion is kept.

The whole face moves as one, so a method's response to a motion is the mean of x over the compared points. Of the
lead-in only the second half is used, as the level at rest.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qlot.benchmarks.jitter.clips import RenderedClip
from qlot.benchmarks.jitter.points import TRUE_LIDS, PointSet
from qlot.benchmarks.jitter.protocol import (
    BlinkSpec,
    GlanceSpec,
    MotionSpec,
    RampSpec,
    SaccadeSpec,
    SineSpec,
    StillSpec,
)
from qlot.metrics import (
    face_size,
    followed,
    interocular,
    nmf,
    overshoot,
    pupil_place,
    ramp_lag,
    second_difference,
    sine_gain,
    sine_lag,
)
from qlot.training.data.clip import Array

FLICKER, NMF, ERROR = "flicker", "nmf", "error"
RAMP_LAG, RAMP_FLICKER, OVERSHOOT = "ramp_lag", "ramp_flicker", "overshoot"
BLINK_DEPTH, PUPILS, LOST, LATENCY = "blink_depth", "pupils", "lost", "latency"
MEANING: Mapping[str, str] = {
    FLICKER: "still: RMS second difference, % of the outer eye distance",
    NMF: "still: normalised mean flicker, first differences over the face size",
    ERROR: "still: mean distance to the mesh vertices, % of the outer eye distance; conventions included, and the "
    "vertices of mediapipe478 were fitted to FaceMesh",
    RAMP_LAG: "ramp: offset in ms of the motion, mean of both directions",
    RAMP_FLICKER: "ramp: RMS second difference of the errors, % of the outer eye distance",
    OVERSHOOT: "saccade: % of the step",
    BLINK_DEPTH: "blink: by how much the lids come nearer, % of the truth",
    PUPILS: "glance: how far the pupils move between the corners of the eyes, % of the truth",
    LOST: "measured frames without landmarks, %",
    LATENCY: "median of a frame, all of it, as its Python package runs it: ms on this machine, filters included",
}

BLINK_MARGIN = 0.3  # seconds before and after a blink that still belong to it: filters are late


def lag_of(hertz: float) -> str:
    """Key of the phase lag at a sine, ms."""
    return f"lag_{hertz:g}hz"


def gain_of(hertz: float) -> str:
    """Key of the gain at a sine."""
    return f"gain_{hertz:g}hz"


def measure(clip: RenderedClip, found: Array, points: PointSet) -> dict[str, float]:
    """Return a clip's measures by key; a clip with lost frames gives only their share.

    Args:
        clip: the clip.
        found: (T, C, 2) what the method says of the compared points; NaN where it lost the face.
        points: which points these are.
    """
    measured = clip.times >= 0
    lost = ~np.isfinite(found.sum((1, 2)))
    share = {LOST: 100 * float(lost[measured].mean())}
    used = ~lost & (clip.times >= clip.times[0] / 2)
    if lost[measured].any() or not (used & ~measured).any():
        return share
    truth = clip.landmarks[points.truth][:, points.layout]
    if isinstance(clip.motion, BlinkSpec):
        true, seen = _opening(clip.landmarks["lm68"], TRUE_LIDS), _opening(found, points.lids)
        times, end = clip.times[used], clip.motion.closing + clip.motion.closed + clip.motion.opening
        return share | {BLINK_DEPTH: 100 * _depth(seen[used], times, end) / _depth(true[used], times, end)}
    if isinstance(clip.motion, GlanceSpec):
        moves = [
            followed(pupil_place(found[used], pupil, corners), pupil_place(truth[used], pupil, corners))
            for pupil, corners in points.pupils
        ]
        known = [move for move in moves if move is not None]
        return share | ({PUPILS: 100 * float(np.mean(known))} if known else {})
    return share | _of_motion(clip.motion, clip.times[used], truth[used], found[used], points)


def _of_motion(motion: MotionSpec, times: Array, truth: Array, found: Array, points: PointSet) -> dict[str, float]:
    stimulus, response = truth[:, :, 0].mean(1), found[:, :, 0].mean(1)
    moving = times >= 0
    match motion:
        case StillSpec():
            errors, eyes = (found - truth)[moving], float(interocular(truth[0], points.outer_eyes))
            return {
                FLICKER: 100 * second_difference(errors, eyes),
                NMF: nmf(errors, float(face_size(truth[0]))),
                ERROR: 100 * float(np.linalg.norm(errors, axis=-1).mean()) / eyes,
            }
        case RampSpec():
            way = motion.seconds / 2
            passed = times % way
            steady = moving & (passed >= motion.settle) & (passed <= way - motion.settle)
            ways = [steady & (times < way), steady & (times >= way)]
            errors, eyes = found - truth, float(interocular(truth[0], points.outer_eyes))
            return {
                RAMP_LAG: float(np.mean([ramp_lag(response[w], stimulus[w], times[w]) for w in ways])),
                RAMP_FLICKER: 100 * float(np.mean([second_difference(errors[w], eyes) for w in ways])),
            }
        case SineSpec():
            wave = response[moving], stimulus[moving], times[moving], motion.hertz
            return {lag_of(motion.hertz): sine_lag(*wave), gain_of(motion.hertz): sine_gain(*wave)}
        case SaccadeSpec():
            return {OVERSHOOT: overshoot(response, times, 0.0, motion.seconds / 2)}
        case BlinkSpec() | GlanceSpec():
            raise ValueError("a blink moves the lids only, a glance the pupils")


def _opening(positions: Array, lids: tuple[tuple[int, int], ...]) -> Array:
    """Return the distance of the lids in every frame (T,), pixels, mean over the pairs."""
    upper, lower = np.array(lids).T
    return np.linalg.norm(positions[:, upper] - positions[:, lower], axis=-1).mean(1)


def _depth(opening: Array, times: Array, end: float) -> float:
    """Return the fall from the mean before a blink to the least during it or shortly after."""
    before = (times < 0) & (times >= -BLINK_MARGIN)
    during = (times >= 0) & (times <= end + BLINK_MARGIN)
    return float(opening[before].mean() - opening[during].min())
