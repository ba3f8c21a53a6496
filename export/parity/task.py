"""The task: what a bundle does to accuracy and steadiness, where the motion is known exactly.

One tracked frame of the parity clip becomes two short clips: the crop is sampled anew at exact sub-pixel places, so the
face rests or goes round in a circle in the network's input, and sensor noise is added. No second face, no expression
and no turn of the head is in it; how the landmarks of the picture moved is known to rounding. Where they are is not
labelled: the anchor is where float PyTorch settles on the picture at rest and without noise, moved as the picture was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.export.calibration.frames import to_uint8
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.parity.free_run import ParityReport
from qlot.export.parity.reference import TrackedFrame, record_run
from qlot.export.parity.spread import Check
from qlot.metrics import face_size, interocular, nme, nmf, sine_lag
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.bundle.manifest import LayoutSpec, TrackerSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Network
from qlot.runtime.network.replay import run_frames
from qlot.runtime.tracking.crop import sample_crop

Array = NDArray[np.float64]

FPS = 25.0  # the sample clip's
LEAD_IN, MEASURED = 10, 50  # frames: two turns of the circle
HERTZ = 1.0
RADIUS = 1 / 32  # of the input's side: about a pixel a frame at 128
READ, SHOT = 3.0, 0.06  # white noise of variance read^2 + shot * value in 8-bit levels, as in the jitter benchmark
SETTLING = 12  # frames for the anchor


@dataclass(frozen=True, eq=False)
class ExactClip:
    """A clip whose motion is known, and PyTorch's track of it.

    Attributes:
        name: what happens in it.
        moved: (T, 2) where the face is against its place at rest, pixels of the network input.
        anchor: (N, 2) its landmarks at rest, likewise.
        run: crops, and what PyTorch made of them.
    """

    name: str
    moved: Array
    anchor: Array
    run: GoldenSequence

    @property
    def truth(self) -> Array:
        """Where the landmarks are, (T, N, 2)."""
        return self.anchor + self.moved[:, None]


@dataclass(frozen=True)
class Compared:
    """A figure of float PyTorch and of a bundle."""

    reference: float
    bundle: float

    @property
    def change(self) -> float:
        """The bundle's over PyTorch's, minus 1."""
        return self.bundle / self.reference - 1 if self.reference else math.inf


@dataclass(frozen=True)
class ClipReport:
    """How a bundle tracks one clip.

    Attributes:
        name: of the clip.
        frames: measured.
        nme: mean distance to the anchor, % of the normaliser: what noise, lag and a bundle's own bias add.
        normaliser: of `nme`.
        nmf: flicker against the exact motion.
        lag: ms behind the exact motion, where there is any.
        allowed: largest change of `nmf` that passes, up or down.
    """

    name: str
    frames: int
    nme: Compared
    normaliser: str
    nmf: Compared
    lag: Compared | None
    allowed: float


@dataclass(frozen=True)
class TaskReport:
    """The exact clips, and the real one, whose steadiness is a ratio of second differences in the picture."""

    clips: tuple[ClipReport, ...]
    flicker: float  # of the real clip, a bundle's over PyTorch's, minus 1
    distance: float  # mean distance of the real clip's results to PyTorch's, % of the outer-eye distance; NaN without
    allowed: float

    @property
    def checks(self) -> tuple[Check, ...]:
        """What is bounded: a frozen landmark is no better than a trembling one."""
        bounded = [(c.name, "change of NMF", c.nmf.change, c.allowed) for c in self.clips]
        bounded.append(("real clip", "change of flicker", self.flicker, self.allowed))
        return tuple(Check("c", name, what, 100 * change, 100 * most, "%") for name, what, change, most in bounded)


def exact_clips(reference: Network, spec: TrackerSpec, frame: TrackedFrame) -> tuple[ExactClip, ...]:
    """Make a clip at rest and a moving one of a tracked frame, and track both in PyTorch."""
    time = (np.arange(LEAD_IN + MEASURED) - LEAD_IN) / FPS
    turn = 2 * math.pi * HERTZ * time
    circle = RADIUS * reference.size * np.stack([np.sin(turn), np.cos(turn)], -1)
    still = np.zeros_like(circle)
    settled = record_run(reference, spec, _crops(frame, still[:SETTLING], reference.size, None), [frame.box] * SETTLING)
    anchor = _results(settled)[-1]
    clips = []
    for seed, (name, moved) in enumerate({"still, noisy": still, "moving, noisy": circle}.items()):
        crops = _crops(frame, moved, reference.size, np.random.default_rng(seed))
        run = record_run(reference, spec, crops, [frame.box] * len(crops))
        clips.append(ExactClip(name, moved, anchor, run))
    return tuple(clips)


def measure_task(
    bundle: Bundle, stages: BundleNetwork, clips: Sequence[ExactClip], real: ParityReport, plan: SchemePlan
) -> TaskReport:
    """Track the exact clips with a bundle, and put the real clip's steadiness beside them."""
    layout = bundle.manifest.layout
    reports = []
    for clip in clips:
        states = run_frames(stages, clip.run, np.array(layout.points))
        track = np.array([frame[-1].landmarks[0, :, :2] for frame in states], np.float64)
        reports.append(
            _compared(clip, track, layout, plan.flicker_moving if clip.moved.any() else plan.flicker_at_rest)
        )
    distance = math.nan if real.eyes is None else float((100 * real.results / real.eyes[:, None]).mean())
    return TaskReport(tuple(reports), real.flicker, distance, plan.flicker)


def _compared(clip: ExactClip, track: Array, layout: LayoutSpec, allowed: float) -> ClipReport:
    both = (_results(clip.run)[LEAD_IN:], track[LEAD_IN:])
    truth, moved = clip.truth[LEAD_IN:], clip.moved[LEAD_IN:, 0]
    time = np.arange(len(truth)) / FPS
    size = float(face_size(clip.anchor))
    d = size if layout.outer_eyes is None else float(interocular(clip.anchor, layout.outer_eyes))
    lag = None
    if moved.any():
        lag = Compared(*(sine_lag((x - clip.anchor)[..., 0].mean(1), moved, time, HERTZ) for x in both))
    return ClipReport(
        clip.name,
        len(truth),
        Compared(*(100 * float(nme(x, truth, np.full(len(truth), d)).mean()) for x in both)),
        "face size" if layout.outer_eyes is None else "outer-eye distance",
        Compared(*(nmf(x - truth, size) for x in both)),
        lag,
        allowed,
    )


def _results(run: GoldenSequence) -> Array:
    """Positions (T, N, 2) after each frame's last step."""
    return run.landmarks[np.arange(len(run.steps)), run.steps - 1, :, :2].astype(np.float64)


def _crops(frame: TrackedFrame, moved: Array, size: int, noise: np.random.Generator | None) -> NDArray[np.uint8]:
    """Sample the frame so that the face is moved by so many input pixels; noise, if any, is the sensor's."""
    step = frame.box.side / size
    crops = []
    for dx, dy in moved:
        box = CropBox(frame.box.center_x - dx * step, frame.box.center_y - dy * step, frame.box.side)
        levels = 255 * sample_crop(frame.rgb, box, size)
        if noise is not None:
            levels = levels + np.sqrt(READ**2 + SHOT * levels) * noise.standard_normal(levels.shape, np.float32)
        crops.append(to_uint8(levels / np.float32(255)))
    return np.stack(crops)
