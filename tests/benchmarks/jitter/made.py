"""Clips without pictures: a made-up face of the layouts' canonical points, moved as the protocol says."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from qlot.benchmarks.jitter.clips import RenderedClip
from qlot.benchmarks.jitter.motions import motion_of
from qlot.benchmarks.jitter.protocol import JitterProtocol, MotionSpec, load_protocol
from qlot.model.layout import load_layout
from qlot.training.data.clip import Array
from qlot.training.data.synthetic.motion import FaceState

SCALE, CENTRE = 60.0, 160.0  # pixels per canonical unit, place in the frame
LIDS, GAZE = (0, 1), ((2,), (3,))
TURNED = 4.0  # pixels a pupil moves at a glance
UPPER = {"lm68": (37, 38, 43, 44), "mediapipe478": (160, 158, 385, 387)}
CLOSED = 5.0  # pixels an upper lid falls
LAYOUTS = {"lm68": load_layout("ibug68"), "mediapipe478": load_layout("mediapipe478")}


def small_protocol(**changes: object) -> JitterProtocol:
    """The committed protocol with one face and fewer settings."""
    fields = load_protocol().model_dump(mode="json") | {"faces": [5]}
    fields["methods"] = {
        "steady": [0.1],
        "gates": [{"radius": 2, "cutoff": 0.05}],
        "one_euro": [{"min_cutoff": 1, "beta": 0}, {"min_cutoff": 4, "beta": 0}],
        "kalman": [{"acceleration": 1e4}],
    }
    return load_protocol(json.dumps(fields | changes))


def made_clip(motion: MotionSpec, protocol: JitterProtocol, face: int = 5) -> RenderedClip:
    times = protocol.times(motion)
    landmarks = {}
    for name, layout in LAYOUTS.items():
        rest = np.array(layout.points)[:, :2] * (SCALE, -SCALE) + CENTRE
        positions = np.repeat(rest[None], len(times), 0)
        moving = motion_of(motion, FaceState(), LIDS, GAZE)
        for i, time in enumerate(times):
            state = moving(float(time))
            positions[i] += state.shift
            positions[i, list(UPPER[name]), 1] += CLOSED * state.expression[LIDS[0]]
            if name == "mediapipe478":
                positions[i, [468, 473], 0] += TURNED * (state.expression[2] - state.expression[3])
        landmarks[name] = positions
    return RenderedClip(face, motion, times, (), landmarks, (0.0, 0.0, 0.0))


def late(frames: int, sigma: float = 0.0, seed: int = 0) -> Callable[[Array], Array]:
    """A tracker that answers with where the face was `frames` ago, plus white noise of `sigma` pixels."""
    rng = np.random.default_rng(seed)

    def answer(truth: Array) -> Array:
        before = np.concatenate([np.repeat(truth[:1], frames, 0), truth[: len(truth) - frames]])
        return before + sigma * rng.standard_normal(truth.shape)

    return answer
