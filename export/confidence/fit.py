"""Fit the confidence: how wide a network's own uncertainty is with and without a face in the crop.

Every checkpoint and layout has constants of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qlot.export.confidence.observe import Observation
from qlot.runtime.bundle.manifest import ConfidenceSpec
from qlot.runtime.tracking.confidence import logistic

Values = NDArray[np.float64]
FALSE_ACCEPTANCE = 1e-3  # share of negatives that may reach `found`
WEAK = 1e-2  # share of positives that may lie below `lost`: single weak frames are no loss
HYSTERESIS = 2.0  # least distance of `found` and `lost` in the logarithm of the odds
RIDGE = 1.0  # of the slope, in units of one observation's weight


def fit_logistic(positives: Values, negatives: Values) -> tuple[float, float]:
    """Return bias and slope of the logistic regression of "is a face" on one number, both classes weighing alike.

    Newton's method with a ridge on the slope, which keeps it finite where the classes do not overlap.
    """
    x = np.concatenate([positives, negatives])
    y = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    weight = np.where(y == 1, 0.5 / len(positives), 0.5 / len(negatives)) * len(x)
    middle = (positives.mean() + negatives.mean()) / 2
    design = np.stack([np.ones_like(x), x - middle], 1)
    ridge = np.diag([0.0, RIDGE])
    beta = np.zeros(2)

    def cost(b: Values) -> float:
        z = design @ b
        return float((weight * (np.logaddexp(0, z) - y * z)).sum() + b @ ridge @ b / 2)

    for _ in range(100):
        p = np.exp(-np.logaddexp(0, -(design @ beta)))
        gradient = design.T @ (weight * (p - y)) + ridge @ beta
        step = np.linalg.solve(
            (design * (weight * p * (1 - p))[:, None]).T @ design + ridge + 1e-9 * np.eye(2), gradient
        )
        while cost(beta - step) > cost(beta) and np.abs(step).max() > 1e-12:
            step = step / 2
        beta = beta - step
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[0] - beta[1] * middle), float(beta[1])


def fit_confidence(observations: Sequence[Observation], source: str) -> ConfidenceSpec:
    """Fit the constants of the manifest.

    `found` is at least 0.5 and lets at most `FALSE_ACCEPTANCE` of the negatives pass. At most `WEAK` of the positives
    lie below `lost`, which is at least `HYSTERESIS` below `found` in the logarithm of the odds.

    Raises:
        ValueError: fewer than 20 observations of a kind, or positives that are not the surer ones.
    """
    positives, negatives = _split(observations)
    if min(len(positives), len(negatives)) < 20:
        raise ValueError(f"{len(positives)} positives and {len(negatives)} negatives: at least 20 of each are needed.")
    # The thresholds belong to the constants as the manifest writes them.
    bias, slope = (round(x, 3) for x in fit_logistic(positives, negatives))
    if slope >= 0:
        raise ValueError("the network is not surer with a face in the crop than without: is it trained?")
    false = np.quantile(bias + slope * negatives, 1 - FALSE_ACCEPTANCE, method="higher")
    weak = np.quantile(bias + slope * positives, WEAK, method="lower")
    found = max(0.0, float(false))
    lost = min(float(weak), found - HYSTERESIS)
    spec = ConfidenceSpec(
        bias=bias,
        w_spread=slope,
        found=min(math.ceil(1000 * logistic(found)), 999) / 1000,
        lost=max(math.floor(1000 * logistic(lost)), 1) / 1000,
        calibration=source,
    )
    report = separation(observations, spec)
    remark = f"{source}; {len(positives)} with, {len(negatives)} without a face: AUC {report['auc']:.4f}"
    return spec.model_copy(update={"calibration": remark})


def separation(observations: Sequence[Observation], spec: ConfidenceSpec) -> dict[str, float | dict[str, list[float]]]:
    """Return the area under the ROC curve, and shares of positives and negatives at both thresholds, also by kind."""
    positives, negatives = (spec.bias + spec.w_spread * x for x in _split(observations))
    order = np.argsort(np.concatenate([negatives, positives]), kind="stable").argsort() + 1.0
    n, m = len(positives), len(negatives)
    found, lost = (math.log(t / (1 - t)) for t in (spec.found, spec.lost))
    kinds: dict[str, list[float]] = {}
    for kind in sorted({o.kind for o in observations}):
        for on_face in (True, False):
            z = [
                spec.bias + spec.w_spread * o.log_spread for o in observations if (o.kind, o.on_face) == (kind, on_face)
            ]
            if z:
                share = [float(np.mean(np.array(z) >= t)) for t in (found, lost)]
                kinds[f"{kind}, {'on' if on_face else 'off'} the face"] = [len(z), *(round(s, 4) for s in share)]
    return {
        "auc": float((order[m:].sum() - n * (n + 1) / 2) / (n * m)),
        "faces_found": float((positives >= found).mean()),
        "others_found": float((negatives >= found).mean()),
        "faces_kept": float((positives >= lost).mean()),
        "others_kept": float((negatives >= lost).mean()),
        "count_found_kept": kinds,
    }


def _split(observations: Sequence[Observation]) -> tuple[Values, Values]:
    return (
        np.array([o.log_spread for o in observations if o.on_face]),
        np.array([o.log_spread for o in observations if not o.on_face]),
    )
