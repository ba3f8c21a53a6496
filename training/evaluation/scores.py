"""From landmarks beside labels to figures: what `qlot.metrics` says of them, in the shape of the results."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from qlot.metrics import (
    areas,
    coverage,
    face_size,
    failures,
    interocular,
    longest_run,
    mean_interval,
    nad_curve,
    nme,
    nmf,
    second_difference,
)
from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.training.data.clip import Array
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.results import (
    Accuracy,
    Estimate,
    Normaliser,
    Stability,
    StillsResult,
    Subset,
    WorstFace,
)
from qlot.training.evaluation.stills import Faces

WORST = 12  # faces listed and drawn


def normalisers(labels: Array, valid: NDArray[np.bool_], layout: LayoutSpec) -> dict[Normaliser, Array]:
    """Return what errors are divided by, (...) each, NaN where it is not labelled; the first one is the main one."""
    sizes: dict[Normaliser, Array] = {"face size": face_size(labels, valid)}
    if layout.outer_eyes is None:
        return sizes
    return {"outer eyes": interocular(labels, layout.outer_eyes, valid), **sizes}


def main_errors(faces: Faces, layout: LayoutSpec) -> Array:
    """Return the NME of each face (F,) by the main normaliser; NaN where that is not labelled."""
    normaliser = next(iter(normalisers(faces.labels, faces.valid, layout).values()))
    return nme(faces.predictions, faces.labels, normaliser, faces.valid)


def score_stills(name: str, faces: Faces, layout: LayoutSpec, protocol: EvaluationProtocol) -> StillsResult:
    """Summarise a set of stills."""
    by = normalisers(faces.labels, faces.valid, layout)
    main = main_errors(faces, layout)
    known = np.isfinite(main)
    people = np.array(faces.identities)
    order = [int(i) for i in np.argsort(-np.where(known, main, -np.inf))[:WORST] if known[i]]
    return StillsResult(
        name=name,
        layout=layout.name,
        faces=len(main),
        people=len(set(faces.identities)),
        data_sha256=faces.sha256,
        accuracy=tuple(
            _accuracy(kind, nme(faces.predictions, faces.labels, d, faces.valid), people, protocol)
            for kind, d in by.items()
        ),
        coverage=covered(faces.predictions, faces.labels, faces.covariances, faces.valid, protocol),
        groups=group_errors(faces.predictions, faces.labels, faces.valid, next(iter(by.values())), layout),
        subsets={
            name: _subset(main[known & member], protocol)
            for name, member in _members(faces).items()
            if (known & member).any()
        },
        identities={str(p): float(main[known & (people == p)].mean()) for p in np.unique(people[known])},
        worst=tuple(WorstFace(source=faces.sources[i], nme=float(main[i])) for i in order),
    )


def _members(faces: Faces) -> dict[str, NDArray[np.bool_]]:
    names = sorted({name for own in faces.subsets for name in own}, key=_by_number)
    return {name: np.array([name in own for own in faces.subsets]) for name in names}


def _by_number(name: str) -> list[tuple[bool, int, str]]:
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _subset(errors: Array, protocol: EvaluationProtocol) -> Subset:
    failed, area = failures(errors, protocol.failure).mean(), areas(errors, protocol.failure).mean()
    return Subset(faces=len(errors), nme=float(errors.mean()), fr10=float(failed), auc10=float(area))


def _accuracy(kind: Normaliser, errors: Array, people: NDArray[np.str_], protocol: EvaluationProtocol) -> Accuracy:
    known = np.isfinite(errors)
    errors, people = errors[known], people[known]

    def estimate(values: Array) -> Estimate:
        low, high = mean_interval(
            values, people.tolist(), level=protocol.interval, samples=protocol.resamples, seed=protocol.seed
        )
        return Estimate(value=float(values.mean()), low=low, high=high)

    return Accuracy(
        normaliser=kind,
        faces=len(errors),
        nme=estimate(errors),
        median=float(np.median(errors)),
        fr10=estimate(failures(errors, protocol.failure)),
        auc10=estimate(areas(errors, protocol.failure)),
    )


def covered(
    predictions: Array, labels: Array, covariances: Array, valid: NDArray[np.bool_], protocol: EvaluationProtocol
) -> dict[str, float]:
    """Return the share of valid errors inside each of the protocol's ellipses; empty without any."""
    if not valid.any():
        return {}
    errors, spread = (predictions - labels)[valid], covariances[valid]
    return {f"{level:g}": coverage(errors, spread, level) for level in protocol.coverage}


def group_errors(
    predictions: Array, labels: Array, valid: NDArray[np.bool_], normaliser: Array, layout: LayoutSpec
) -> dict[str, float]:
    """Return the NME of each of the layout's groups, mean over faces or frames that have it labelled."""
    out = {}
    for name, members in layout.groups.items():
        at = list(members)
        errors = nme(predictions[..., at, :], labels[..., at, :], normaliser, valid[..., at])
        if np.isfinite(errors).any():
            out[name] = float(np.nanmean(errors))
    return out


def stability(predictions: Array, labels: Array, valid: NDArray[np.bool_], protocol: EvaluationProtocol) -> Stability:
    """Say how steady predictions (T, N, 2) are; a frame without landmarks holds NaN and is not `valid`.

    Over the longest run of frames with landmarks, by the landmarks that are valid throughout it, all over face size.
    """
    run = longest_run(valid.sum(-1) > 0)
    steady = valid[run].all(0)
    frames = run.stop - run.start
    if frames < 3 or not steady.any():
        return Stability(frames=frames, nmf=None, nad={}, flicker=None, label_flicker=None)
    predicted, truth = predictions[run][:, steady], labels[run][:, steady]
    sizes = face_size(labels[run], valid[run])
    size = float(sizes.mean())
    curve = nad_curve(predicted - truth, size, protocol.blocks)
    return Stability(
        frames=frames,
        nmf=nmf(predicted - truth, sizes),
        nad={str(b): float(v) for b, v in zip(protocol.blocks, curve, strict=True) if np.isfinite(v)},
        flicker=second_difference(predicted, size),
        label_flicker=second_difference(truth, size),
    )
