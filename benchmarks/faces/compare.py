"""What a tracker does on the material, and beside the peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qlot.benchmarks.faces.hidden import HiddenScores, hidden_scores
from qlot.benchmarks.faces.leaving import LeavingScores, leaving_scores
from qlot.benchmarks.faces.linear_map import LinearMap
from qlot.benchmarks.faces.material import FaceMaterial, clips_in
from qlot.benchmarks.faces.placed import placed_errors
from qlot.benchmarks.faces.trackers import FaceTracker, Landmarker, Ours
from qlot.metrics import bend, interocular, nme
from qlot.model.layout import load_layout
from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.runtime.progress import Progress
from qlot.training.data.clip import Array, Clip
from qlot.training.evaluation.datasets import PEOPLE, TEACHER
from qlot.training.evaluation.eyes import eyes_of
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.results import EyesResult
from qlot.training.evaluation.scores import stability

JAWS: Final = "wflw98"
PLACED: Final = (TEACHER, JAWS, PEOPLE)  # layouts that are held against placed points, where a tracker has them


@dataclass(frozen=True)
class ClipScores:
    """A video."""

    name: str
    eyes: EyesResult | None  # against the peer's track
    flicker: float | None  # over that of FaceMesh's raw labels
    leaving: LeavingScores | None  # of ours, where the weights state a confidence


@dataclass(frozen=True)
class Scores:
    """One tracker; None for what its layout lacks. Errors in % of the outer-eye distance."""

    name: str
    placed: dict[str, dict[str, float]]  # by layout
    labels: float | None  # of faces_val, the 68 labels less their offset; the peer's through a linear map
    teacher: float | None  # of the same pictures, the denoised teacher
    jaw: float | None  # bend of wflw98's jaw over the canonical face's, median
    hidden: HiddenScores | None  # of wflw98; the peer says nothing of how sure it is
    clips: tuple[ClipScores, ...]


def scores(
    tracker: FaceTracker,
    peer: Sequence[Array],
    material: FaceMaterial,
    protocol: EvaluationProtocol,
    progress: Progress,
) -> Scores:
    """Measure a tracker.

    Args:
        tracker: ours or the peer.
        peer: the peer's tracks of the material's videos, (T, 478, 2) each.
        material: the faces.
        protocol: of blocks and levels.
        progress: told what is being done.
    """
    has = tracker.layouts()
    layouts = [layout for layout in PLACED if has is None or layout in has]
    placed = {}
    for layout in layouts:
        progress(f"{tracker.name}: points placed by people, {layout}")
        found = tracker.stills(clips_in(material.placed, layout, material.placed_rows), layout)
        seen = np.isfinite(found).all((1, 2))
        placed[layout] = dict(placed_errors(found[seen], material.placed_points[seen], load_layout(layout)))
    progress(f"{tracker.name}: people held back")
    teacher = jaw = hidden = None
    clips: tuple[ClipScores, ...] = ()
    if TEACHER in layouts:
        teacher = _nme(
            tracker.stills(clips_in(material.teacher, TEACHER), TEACHER), material.teacher.landmarks, TEACHER
        )
        clips = tuple(
            _clip(tracker, clip, beside, protocol) for clip, beside in zip(material.videos, peer, strict=True)
        )
    if JAWS in layouts:
        jaw = _jaw(tracker.stills(clips_in(material.teacher, JAWS), JAWS))
        hidden = hidden_scores(tracker, clips_in(material.teacher, JAWS), JAWS) if isinstance(tracker, Ours) else None
    labels = _labels(tracker, material) if PEOPLE in layouts else None
    return Scores(tracker.name, placed, labels, teacher, jaw, hidden, clips)


def _clip(tracker: FaceTracker, clip: Clip, peer: Array, protocol: EvaluationProtocol) -> ClipScores:
    track = peer if isinstance(tracker, Landmarker) else tracker.video(clip)
    found, beside = (np.asarray(np.isfinite(t).all(-1)) for t in (track, peer))
    layout = LayoutSpec.model_validate(load_layout(TEACHER).spec())
    steady = stability(track, clip.landmarks, clip.valid & found, protocol)
    ratio = steady.flicker / steady.label_flicker if steady.flicker is not None and steady.label_flicker else None
    leaving = leaving_scores(tracker, clip, clip.layout) if isinstance(tracker, Ours) else None
    return ClipScores(clip.source, eyes_of(track, peer, found & beside, layout), ratio, leaving)


def _labels(tracker: FaceTracker, material: FaceMaterial) -> float:
    labels = material.val.landmarks
    if isinstance(tracker, Landmarker):
        found = tracker.stills(clips_in(material.teacher, TEACHER), TEACHER)
        seen = np.isfinite(found).all((1, 2))
        return _nme(LinearMap.fit(*material.fit)(found[seen]), labels[seen], PEOPLE)
    rng = np.random.default_rng(0)
    return _nme(tracker.stills([material.val.clip(i, 1, rng) for i in range(len(labels))], PEOPLE), labels, PEOPLE)


def _nme(found: Array, labels: NDArray[np.floating[Any]], layout: str) -> float:
    eyes, true = load_layout(layout).outer_eyes, labels.astype(np.float64)
    assert eyes is not None
    return 100 * float(np.nanmean(nme(found, true, interocular(true, eyes))))


def _jaw(found: Array) -> float:
    layout = load_layout(JAWS)
    jaw = list(layout.groups["jaw"])
    seen = np.isfinite(found).all((1, 2))
    return float(np.median(bend(found[seen][:, jaw])) / bend(layout.points[None, jaw, :2])[0])
