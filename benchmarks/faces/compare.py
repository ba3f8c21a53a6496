"""Rows of the table: what a tracker does on the material, and beside the peer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from qlot.benchmarks.faces.hidden import HiddenScores, hidden_scores
from qlot.benchmarks.faces.linear_map import LinearMap
from qlot.benchmarks.faces.material import FaceMaterial, clips_in
from qlot.benchmarks.faces.placed import placed_errors
from qlot.benchmarks.faces.trackers import FaceTracker, Landmarker, Ours
from qlot.metrics import bend, interocular, nme
from qlot.model.layout import load_layout
from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.runtime.progress import Progress
from qlot.training.data.clip import Array
from qlot.training.data.sources.every_layout import TEACHER
from qlot.training.evaluation.datasets import PEOPLE
from qlot.training.evaluation.eyes import eyes_of
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.results import EyesResult, Stability
from qlot.training.evaluation.scores import stability

JAWS: Final = "wflw98"
PLACED: Final = (TEACHER, JAWS, PEOPLE)  # layouts that are held against placed points, where a tracker has them


@dataclass(frozen=True)
class ClipScores:
    """A video; eyes against the peer's track, flicker beside the old labels'."""

    name: str
    eyes: EyesResult | None
    flicker: Stability


@dataclass(frozen=True)
class Scores:
    """One tracker. Errors in % of the outer-eye distance."""

    name: str
    placed: dict[str, dict[str, float]]  # by layout
    labels: float | None  # of faces_val, the 68 labels less their offset; the peer's through a linear map
    teacher: float | None  # of the same pictures, the denoised teacher
    jaw: float | None  # bend of wflw98's jaw over the canonical face's, median
    clips: tuple[ClipScores, ...] = field(default=())
    hidden: HiddenScores | None = None  # of wflw98; the peer says nothing of how sure it is


def scores(
    tracker: FaceTracker, peer: list[Array], material: FaceMaterial, protocol: EvaluationProtocol, progress: Progress
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

    def able(layout: str) -> bool:
        return has is None or layout in has

    placed = {}
    for layout in filter(able, PLACED):
        progress(f"{tracker.name}: points placed by people, {layout}")
        found = tracker.stills(clips_in(material.placed, layout, material.placed_rows), layout)
        seen = np.isfinite(found).all((1, 2))
        placed[layout] = dict(placed_errors(found[seen], material.placed_points[seen], load_layout(layout)))
    progress(f"{tracker.name}: held-back people")
    clips = []
    for clip, beside in zip(material.videos, peer, strict=True) if able(TEACHER) else ():
        progress(f"{tracker.name}: {clip.source}")
        track = beside if isinstance(tracker, Landmarker) else tracker.video(clip)
        both = np.isfinite(track).all(-1) & np.isfinite(beside).all(-1)
        layout = LayoutSpec.model_validate(load_layout(TEACHER).spec())
        known = clip.valid & np.isfinite(track).all(-1)
        clips.append(
            ClipScores(
                clip.source,
                eyes_of(track, beside, both, layout),
                stability(track, clip.landmarks, known, protocol),
            )
        )
    return Scores(
        name=tracker.name,
        placed=placed,
        labels=_labels(tracker, material) if able(PEOPLE) else None,
        teacher=_nme(tracker.stills(clips_in(material.teacher, TEACHER), TEACHER), material.teacher.landmarks, TEACHER)
        if able(TEACHER)
        else None,
        jaw=_jaw(tracker.stills(clips_in(material.teacher, JAWS), JAWS)) if able(JAWS) else None,
        clips=tuple(clips),
        hidden=hidden_scores(tracker, clips_in(material.teacher, JAWS), JAWS)
        if isinstance(tracker, Ours) and able(JAWS)
        else None,
    )


def _labels(tracker: FaceTracker, material: FaceMaterial) -> float:
    if not isinstance(tracker, Landmarker):
        rng = np.random.default_rng(0)
        clips = [material.val.clip(i, 1, rng) for i in range(len(material.val))]
        return _nme(tracker.stills(clips, PEOPLE), material.val.landmarks, PEOPLE)
    found = tracker.stills(clips_in(material.teacher, TEACHER), TEACHER)
    seen = np.isfinite(found).all((1, 2))
    mapped = LinearMap.fit(*material.fit)(found[seen])
    return _nme(mapped, material.val.landmarks[seen], PEOPLE)


def _nme(found: Array, labels: Array, layout: str) -> float:
    eyes = load_layout(layout).outer_eyes
    assert eyes is not None
    true = labels.astype(np.float64)
    errors = nme(found, true, interocular(true, eyes))
    return 100 * float(np.nanmean(errors))


def _jaw(found: Array) -> float:
    layout = load_layout(JAWS)
    jaw = list(layout.groups["jaw"])
    seen = np.isfinite(found).all((1, 2))
    return float(np.median(bend(found[seen][:, jaw])) / bend(layout.points[None, jaw, :2])[0])
