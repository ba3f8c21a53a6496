"""Video: the runtime's own tracker over a labelled clip, with the state carried or reset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlot.metrics import failures, nme
from qlot.runtime.bundle.manifest import IterationSpec, LayoutSpec
from qlot.runtime.errors import FrameError
from qlot.runtime.geometry import CropBox, FloatArray
from qlot.runtime.media.video import FALLBACK_RATE
from qlot.runtime.network.recurrence import Features, Network
from qlot.runtime.network.state import State
from qlot.runtime.tracking.result import TrackResult
from qlot.runtime.tracking.tracker import Tracker
from qlot.training.data.clip import Array, Clip, DataError
from qlot.training.evaluation.eyes import eyes_of
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.results import ClipResult, Normaliser, VideoTotals
from qlot.training.evaluation.scores import covered, group_errors, normalisers, stability
from qlot.training.evaluation.stills import Digest, check_queries, label_box
from qlot.training.evaluation.subject import ReadyNetwork


class ForgetfulNetwork:
    """Stages whose hidden state starts from zero in every frame; landmarks and covariances are carried all the same.

    What is lost against the real thing is what the hidden state is worth.
    """

    def __init__(self, stages: Network) -> None:
        self._stages = stages
        self._fresh = True

    @property
    def size(self) -> int:
        """Side of the network input in pixels."""
        return self._stages.size

    def extract(self, image: FloatArray) -> Features:
        """Run the extractor; the next step is the first of a frame."""
        self._fresh = True
        return self._stages.extract(image)

    def refine(self, features: Features, state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run one step, the first of a frame without memory."""
        if self._fresh:
            state = State(state.landmarks, np.zeros_like(state.hidden))
        self._fresh = False
        return self._stages.refine(features, state)


@dataclass(frozen=True, eq=False)
class TrackedClip:
    """A tracked clip; where there are no landmarks the predictions are NaN."""

    clip: Clip
    predictions: Array  # (T, N, 2) pixels of the frame
    covariances: Array  # (T, N, 2, 2)
    milliseconds: Array  # (T,)

    @property
    def tracked(self) -> NDArray[np.bool_]:
        """Frames with landmarks (T,)."""
        return np.isfinite(self.predictions.sum((-1, -2)))

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Landmarks that are both predicted and labelled (T, N)."""
        return self.clip.valid & self.tracked[:, None]


def make_tracker(
    network: ReadyNetwork, protocol: EvaluationProtocol, start: CropBox | None = None, *, reset_state: bool = False
) -> Tracker:
    """Return a tracker by the protocol; `start` is where it looks in the first frame, as if a detector had said so."""
    stages = ForgetfulNetwork(network.stages) if reset_state else network.stages
    boxes = iter([] if start is None else [start])
    iterations = IterationSpec(cold=protocol.cold, tracking=protocol.tracking)
    return Tracker(network.spec, stages, iterations=iterations, detector=lambda _: next(boxes, None))


def track_clip(
    network: ReadyNetwork, clip: Clip, protocol: EvaluationProtocol, *, reset_state: bool = False
) -> TrackedClip:
    """Track a labelled clip from its first frame.

    Raises:
        DataError: labels of another layout, or a first frame whose labels are no face or lie outside the picture.
    """
    check_queries(clip, network)
    box = label_box(clip, 0, network.spec.preprocessing.crop)
    tracker = make_tracker(network, protocol, box, reset_state=reset_state)
    rate = clip.fps or FALLBACK_RATE
    try:
        results = [tracker.update(frame, t / rate) for t, frame in enumerate(clip.frames)]
    except FrameError as e:
        raise DataError(f"{clip.source} cannot be tracked from its first labels: {e}") from e
    n = len(clip.queries)
    positions = [_or_nan(r.landmarks, (n, 2)) for r in results]
    covariances = [_or_nan(r.covariances, (n, 2, 2)) for r in results]
    spent = np.array([_total(r) for r in results])
    return TrackedClip(clip, np.stack(positions), np.stack(covariances), spent)


def _or_nan(values: FloatArray | None, shape: tuple[int, ...]) -> Array:
    return np.full(shape, np.nan) if values is None else values.astype(np.float64)


def _total(result: TrackResult) -> float:
    return result.milliseconds.get("total", 0.0)


def frame_errors(track: TrackedClip, layout: LayoutSpec) -> dict[Normaliser, Array]:
    """Return the NME of each frame (T,) by each normaliser; NaN where there are no landmarks or no labels."""
    by = normalisers(track.clip.landmarks, track.clip.valid, layout)
    return {kind: nme(track.predictions, track.clip.landmarks, d, track.valid) for kind, d in by.items()}


def score_clip(track: TrackedClip, layout: LayoutSpec, protocol: EvaluationProtocol) -> ClipResult:
    """Summarise a tracked clip."""
    clip, valid = track.clip, track.valid
    digest = Digest()
    digest.add(clip)
    errors = frame_errors(track, layout)
    main = next(iter(errors))
    labelled = clip.valid.any(-1)
    off = ~(errors["face size"] <= protocol.lost)  # NaN, no landmarks, counts as lost too
    lost = np.flatnonzero(off & labelled)
    normaliser = normalisers(clip.landmarks, clip.valid, layout)[main]
    return ClipResult(
        source=clip.source,
        identity=clip.identity,
        frames=len(clip.frames),
        data_sha256=digest.hexdigest(),
        tracked=int(track.tracked.sum()),
        lost=bool(len(lost)),
        first_lost=int(lost[0]) if len(lost) else None,
        nme={kind: float(np.nanmean(e)) for kind, e in errors.items() if np.isfinite(e).any()},
        fr10=float(failures(np.where(np.isfinite(errors[main]), errors[main], np.inf)[labelled]).mean()),
        groups=group_errors(track.predictions, clip.landmarks, valid, normaliser, layout),
        coverage=covered(track.predictions, clip.landmarks, track.covariances, valid, protocol),
        stability=stability(track.predictions, clip.landmarks, valid, protocol),
        eyes=eyes_of(track.predictions, clip.landmarks, valid, layout),
        milliseconds=float(np.median(track.milliseconds)),
    )


def total(clips: Sequence[ClipResult], still_nme: float | None) -> VideoTotals:
    """Average clips, each weighing alike.

    Args:
        clips: at least one.
        still_nme: NME of stills of the same landmarks by the same, main normaliser.
    """
    kinds = list(dict.fromkeys(kind for c in clips for kind in c.nme))
    errors: dict[Normaliser, float] = {
        kind: float(np.mean([c.nme[kind] for c in clips if kind in c.nme])) for kind in kinds
    }
    steady = [c.stability for c in clips]
    flicker, labels = _mean([s.flicker for s in steady]), _mean([s.label_flicker for s in steady])
    curves = [s.nad for s in steady if s.nad]
    blocks = [b for b in (curves[0] if curves else {}) if all(b in curve for curve in curves)]
    return VideoTotals(
        clips=len(clips),
        lost=sum(c.lost for c in clips),
        nme=errors,
        fr10=float(np.mean([c.fr10 for c in clips])),
        nmf=_mean([s.nmf for s in steady]),
        flicker=flicker,
        label_flicker=labels,
        flicker_ratio=None if flicker is None or not labels else flicker / labels,
        nme_ratio=errors[kinds[0]] / still_nme if kinds and still_nme else None,
        nad={b: float(np.sqrt(np.mean([curve[b] ** 2 for curve in curves]))) for b in blocks},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
