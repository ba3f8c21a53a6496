"""Stills: how near a cold start in a disturbed crop comes to the labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import CropSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.recurrence import Gate, steps
from qlot.runtime.network.state import cold_start, covariance_matrices
from qlot.runtime.tracking.crop import crop_of, fit_crop, sample_crop, to_frame
from qlot.training.data.clip import Array, Clip, DataError, Source
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.subject import ReadyNetwork


@runtime_checkable
class Grouped(Protocol):
    """A source that tells kinds of pictures apart."""

    def groups(self, index: int) -> tuple[str, ...]:
        """Return the kinds that a picture belongs to."""


@dataclass(frozen=True, eq=False)
class Faces:
    """Predictions beside labels of F faces, in pixels of their pictures."""

    predictions: Array  # (F, N, 2)
    covariances: Array  # (F, N, 2, 2)
    labels: Array  # (F, N, 2); anything where not valid
    valid: NDArray[np.bool_]  # (F, N)
    identities: tuple[str, ...]
    sources: tuple[str, ...]
    sha256: str  # of what was decoded
    subsets: tuple[tuple[str, ...], ...]  # those that each face belongs to


def label_box(clip: Clip, frame: int, spec: CropSpec) -> CropBox:
    """Return the crop rule's square around a frame's valid labels.

    Raises:
        DataError: fewer than two landmarks are labelled, or they contradict a face.
    """
    valid = clip.valid[frame]
    if valid.sum() >= 2:
        fit = fit_crop(clip.queries[valid], clip.landmarks[frame, valid])
        if fit.sound:
            return crop_of(fit, spec)
    raise DataError(f"{clip.source}, frame {frame}: the {valid.sum()} labelled landmarks are no face; leave it out.")


def disturbed(box: CropBox, protocol: EvaluationProtocol, rng: np.random.Generator) -> CropBox:
    """Return the crop as a detector would be off; three numbers are drawn."""
    scale = 1 + rng.uniform(-protocol.crop_scale, protocol.crop_scale)
    x, y = rng.uniform(-protocol.crop_shift, protocol.crop_shift, 2) * box.side
    return CropBox(box.center_x + x, box.center_y + y, box.side * scale)


def measure_stills(network: ReadyNetwork, source: Source, protocol: EvaluationProtocol) -> Faces:
    """Look once, cold, at every still of a source.

    Raises:
        DataError: unreadable material, labels of another layout, or a network that returns no numbers.
    """
    disturbance, choice = np.random.default_rng(protocol.seed), np.random.default_rng(protocol.seed)
    digest = Digest()
    rows = []
    for index in range(len(source)):
        clip = source.clip(index, 1, choice)
        check_queries(clip, network)
        digest.add(clip)
        box = disturbed(label_box(clip, 0, network.spec.preprocessing.crop), protocol, disturbance)
        landmarks, covariances = look(network, clip.frames[0], box, protocol.cold)
        if not (np.isfinite(landmarks).all() and np.isfinite(covariances).all()):
            raise DataError(f"{clip.source}: the network returned numbers that are not finite; are its weights broken?")
        rows.append((landmarks, covariances, clip.landmarks[0], clip.valid[0], clip.identity, clip.source))
    if not rows:
        raise DataError(f"{source.name} holds no picture: is the folder complete?")
    predictions, covariance, labels, valid, identities, sources = zip(*rows, strict=True)
    grouped = source if isinstance(source, Grouped) else None
    subsets = tuple(grouped.groups(i) if grouped else () for i in range(len(source)))
    arrays = (np.stack(predictions), np.stack(covariance), np.stack(labels), np.stack(valid))
    return Faces(*arrays, identities, sources, digest.hexdigest(), subsets)


def look(network: ReadyNetwork, rgb: NDArray[np.uint8], box: CropBox, iterations: int) -> tuple[Array, Array]:
    """Return landmarks (N, 2) and covariances (N, 2, 2) in pixels of the picture after a cold start in a crop."""
    stages, spec = network.stages, network.spec
    start = cold_start(np.array(spec.layout.points), stages.size, spec.state.hidden[2])
    features = stages.extract(sample_crop(rgb, box, stages.size))
    gate = Gate(spec.gate.radius, spec.gate.cutoff)
    *_, state = steps(stages, features, start, iterations, gate)
    covariances = covariance_matrices(state.landmarks) * (box.side / stages.size) ** 2
    return to_frame(state.landmarks[0, :, :2], box, stages.size), covariances


def check_queries(clip: Clip, network: ReadyNetwork) -> None:
    """Refuse labels of other landmarks than the network's.

    Raises:
        DataError: the layouts differ.
    """
    points = np.array(network.layout.points)
    if clip.queries.shape != points.shape or not np.allclose(clip.queries, points, atol=1e-4):
        raise DataError(
            f"{clip.source}: the labels are {len(clip.queries)} points of {clip.layout}, the network has the "
            f"{len(points)} points of {network.layout.name}: export or evaluate it with --layout {clip.layout}."
        )


class Digest:
    """SHA-256 of what clips hold once decoded: pixels, labels and their validity, in order."""

    def __init__(self) -> None:
        self._hash: Any = hashlib.sha256()

    def add(self, clip: Clip) -> None:
        """Take in a clip; a still that is repeated counts once."""
        last = None
        for frame in clip.frames:
            if frame is not last:
                self._hash.update(np.array(frame.shape, "<i8").tobytes())
                self._hash.update(np.ascontiguousarray(frame).tobytes())
            last = frame
        labels = np.where(clip.valid[..., None], clip.landmarks, 0.0)
        self._hash.update(np.ascontiguousarray(labels, "<f8").tobytes())
        self._hash.update(np.ascontiguousarray(clip.valid).tobytes())

    def hexdigest(self) -> str:
        """Return the hash so far."""
        return str(self._hash.hexdigest())
