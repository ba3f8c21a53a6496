"""All methods over all clips: every method sees the same frames, and is measured on the same points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from qlot.benchmarks.jitter.clips import RenderedClip
from qlot.benchmarks.jitter.measures import LATENCY, measure
from qlot.benchmarks.jitter.methods import QLOT, ClipAnswers, Method, smooth, track
from qlot.benchmarks.jitter.peer import PeerTrack
from qlot.benchmarks.jitter.points import PointSet
from qlot.runtime.bundle.manifest import TrackerSpec
from qlot.runtime.network.recurrence import Gate, Network
from qlot.runtime.progress import Progress

Follow = Callable[[RenderedClip, Method], ClipAnswers]


@dataclass(frozen=True)
class Score:
    """A measure of one method: one value per face."""

    faces: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the faces; NaN if the method lost one."""
        return float(np.mean(self.faces))


@dataclass(frozen=True)
class MethodScores:
    """A method and its measures by key."""

    method: Method
    scores: dict[str, Score]

    def mean(self, key: str) -> float:
        """Mean of a measure over the faces; NaN if it could not be taken."""
        return self.scores[key].mean if key in self.scores else math.nan


class Followers:
    """Runs each tracker once per clip and gate, however many filters follow it.

    Args:
        spec: constants of the bundle.
        stages: its network.
        points: what is compared.
        peers: by name, what each says of a clip.
    """

    def __init__(
        self,
        spec: TrackerSpec,
        stages: Network,
        points: PointSet,
        peers: Mapping[str, Callable[[RenderedClip], PeerTrack]] = MappingProxyType({}),
    ) -> None:
        self._spec, self._stages, self._points, self._peers = spec, stages, points, peers
        self._clip: RenderedClip | None = None
        self._raw: dict[tuple[str, Gate], ClipAnswers] = {}

    def __call__(self, clip: RenderedClip, method: Method) -> ClipAnswers:
        """Return a method's track on a clip."""
        if clip is not self._clip:
            self._clip, self._raw = clip, {}
        key = method.tracker, method.gate
        if key not in self._raw:
            self._raw[key] = self._follow(clip, method)
        raw = self._raw[key]
        return raw if method.rule is None else smooth(raw, clip.times, method.rule, method.weighted)

    def _follow(self, clip: RenderedClip, method: Method) -> ClipAnswers:
        if method.tracker == QLOT:
            return track(self._spec, self._stages, clip, self._points, method.gate)
        if method.tracker not in self._peers:
            raise ValueError(f"{method.tracker} is among the methods but was not given")
        found = self._peers[method.tracker](clip)
        return ClipAnswers(found.landmarks[:, self._points.mesh], None, found.milliseconds)


def run(
    clips: Sequence[RenderedClip], compared: Iterable[Method], follow: Follow, points: PointSet, progress: Progress
) -> list[MethodScores]:
    """Measure every method on every clip.

    Args:
        clips: every face with every motion.
        compared: the methods.
        follow: what gives a method's landmarks of the compared points on a clip.
        points: the compared points.
        progress: told which clip is being run.
    """
    listed = list(compared)
    values: dict[str, dict[str, dict[int, list[float]]]] = {method.label: {} for method in listed}
    faces = list(dict.fromkeys(clip.face for clip in clips))
    for i, clip in enumerate(clips):
        progress(f"running clip {i + 1} of {len(clips)}: {clip.name}")
        for method in listed:
            found = follow(clip, method)
            measured = measure(clip, found.positions, points)
            if found.milliseconds is not None:
                measured[LATENCY] = float(np.median(found.milliseconds[clip.times >= 0]))
            for key, value in measured.items():
                values[method.label].setdefault(key, {}).setdefault(clip.face, []).append(value)
    return [MethodScores(method, _scores(values[method.label], faces)) for method in listed]


def _scores(values: dict[str, dict[int, list[float]]], faces: Sequence[int]) -> dict[str, Score]:
    """Average what a face has several of (lost frames, one share per clip); a face without a value is NaN."""
    return {
        key: Score(tuple(float(np.mean(by_face[face])) if face in by_face else math.nan for face in faces))
        for key, by_face in values.items()
    }
