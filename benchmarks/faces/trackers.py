"""What is compared: our weights or a bundle as their users run them, and MediaPipe's FaceLandmarker at its defaults."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from qlot.benchmarks.peers.facemesh import run_landmarker
from qlot.model.layout import load_layout
from qlot.runtime.media.video import FALLBACK_RATE
from qlot.training.data.clip import Array, Clip, Image
from qlot.training.data.interpolation import Interpolation
from qlot.training.evaluation.datasets import TEACHER
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.stills import disturbed, label_box, look
from qlot.training.evaluation.subject import Subject
from qlot.training.evaluation.video import track_clip


class FaceTracker(Protocol):
    """Finds landmarks of a layout; NaN where it finds no face."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def layouts(self) -> tuple[str, ...] | None:
        """Return what it has; None for any."""

    def stills(self, clips: Sequence[Clip], layout: str) -> Array:
        """Look at the first frame of each clip: (F, N, 2) pixels."""

    def video(self, clip: Clip) -> Array:
        """Follow a clip in its own layout: (T, N, 2) pixels."""


@dataclass
class Ours:
    """Weights or a bundle: stills from a cold start in a disturbed crop, videos by the tracker."""

    subject: Subject
    protocol: EvaluationProtocol

    @property
    def name(self) -> str:
        """Return the weights' or the bundle's."""
        return self.subject.info.name

    def layouts(self) -> tuple[str, ...] | None:
        """Return a bundle's one."""
        return (self.subject.info.layout,) if self.subject.info.layout else None

    def stills(self, clips: Sequence[Clip], layout: str) -> Array:
        """Look at each clip's first frame, in the crop of its labels as a detector would be off."""
        network, rng = self.subject.network(layout), np.random.default_rng(self.protocol.seed)
        found = []
        for clip in clips:
            box = disturbed(label_box(clip, 0, network.spec.preprocessing.crop), self.protocol, rng)
            found.append(look(network, clip.frames[0], box, self.protocol.cold)[0])
        return np.stack(found)

    def video(self, clip: Clip) -> Array:
        """Follow a clip as an app would."""
        return track_clip(self.subject.network(clip.layout), clip, self.protocol).predictions


@dataclass
class Landmarker:
    """FaceLandmarker; what it lacks of a layout is taken from its contours."""

    model: Path
    environment: Path | None = None
    name: str = "FaceLandmarker"

    def layouts(self) -> tuple[str, ...] | None:
        """Return None: any."""
        return None

    def stills(self, clips: Sequence[Clip], layout: str) -> Array:
        """Look at each clip's first frame, whole, as a picture of its own."""
        return self._as(layout, self._run([clip.frames[0] for clip in clips], None))

    def video(self, clip: Clip) -> Array:
        """Follow a clip in VIDEO mode."""
        return self._as(clip.layout, self._run(clip.frames, clip.fps or FALLBACK_RATE))

    def _run(self, frames: Sequence[Image], fps: float | None) -> Array:
        with tempfile.TemporaryDirectory() as folder:
            source, found = Path(folder) / "frames.npz", Path(folder) / "found.npz"
            np.savez(source, frames=np.stack(frames), fps=fps or 0.0)
            run_landmarker(source, found, self.model, self.environment, pictures=fps is None)
            with np.load(found) as stored:
                return np.asarray(stored["landmarks"], np.float64)

    def _as(self, layout: str, landmarks: Array) -> Array:
        if layout == TEACHER:
            return landmarks
        return Interpolation.between(load_layout(TEACHER), load_layout(layout))(landmarks)
