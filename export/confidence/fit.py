"""Fit the confidence: how wide a network's own uncertainty is with and without a face in the crop.

Every checkpoint and layout has constants of its own. `python -m qlot.export.confidence.fit --weights W --data D` fits
them on labelled faces and prints them as JSON, with the separation on people that the fit has not seen. D holds
`faces_train` and `faces_val`, each a `.tar` of images with an `.npz` of `names` and `ibug68` (n, 68, 2) in pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.export.bundle.spec import tracker_spec
from qlot.export.confidence.scenes import FACES, OTHERS, CropScene, Rng, near
from qlot.model.checkpoint import load_checkpoint
from qlot.model.layout import Layout, load_layout
from qlot.model.torch_network import TorchNetwork
from qlot.runtime.bundle.defaults import CROP
from qlot.runtime.bundle.manifest import ConfidenceSpec, TrackerSpec
from qlot.runtime.network.recurrence import Gate, Network, steps
from qlot.runtime.network.state import State, cold_start
from qlot.runtime.tracking.confidence import log_spread, logistic
from qlot.runtime.tracking.crop import crop_of, fit_crop, sample_crop, target_crop
from qlot.runtime.tracking.result import CropBox

Values = NDArray[np.float64]
ON_FACE, OFF_FACE = (0.08, 0.15), (0.2, 0.35)  # shift over side and ln side of the fitted crop against the face's own
FALSE_ACCEPTANCE = 1e-3  # share of negatives that may reach `found`
WEAK = 1e-2  # share of positives that may lie below `lost`: single weak frames are no loss
HYSTERESIS = 2.0  # least distance of `found` and `lost` in the logarithm of the odds
UNFITTED = ConfidenceSpec(bias=0.0, w_spread=-1.0, found=0.5, lost=0.1, calibration="none yet")
RIDGE = 1.0  # of the slope, in units of one observation's weight


@dataclass(frozen=True)
class Observation:
    """One crop looked at: what it was, the ln spread, and whether the landmarks lie on the face."""

    kind: str
    log_spread: float
    on_face: bool


def collect(stages: Network, spec: TrackerSpec, scenes: Iterable[CropScene], seed: int = 0) -> list[Observation]:
    """Look at each scene's face, at two pictures without one, and at what a tracker sees next.

    A look is labelled by its outcome: on the face where its fitted crop agrees with the known one (`ON_FACE`), off it
    where it is beyond `OFF_FACE` or there is no face; what lies between is left out. Cold looks take the bundle's cold
    steps. "tracked" goes on for a frame in which the face has moved by up to 5 % of the side; "gone" goes on for two
    frames of a picture without a face, of which the second counts: in the first the state still remembers.
    """
    rng, looks = np.random.default_rng(seed), _Looks(stages, spec)
    for i, scene in enumerate(scenes):
        face, state = looks.cold("degraded" if i % 4 == 0 else "near", scene, rng)
        first, second = (list(OTHERS)[k] for k in rng.permutation(len(OTHERS))[:2])
        looks.cold(first, scene, rng)
        gone, _ = looks.cold(second, scene, rng)
        looks.tracked(face, state, rng)
        looks.gone(gone, state)
    return looks.seen


class _Looks:
    def __init__(self, stages: Network, spec: TrackerSpec) -> None:
        self.stages, self.spec = stages, spec
        self.points = np.array(spec.layout.points)
        self.gate = Gate(spec.gate.radius, spec.gate.cutoff)
        self.seen: list[Observation] = []

    def cold(self, kind: str, scene: CropScene, rng: Rng) -> tuple[CropScene, State]:
        shown = {**FACES, **OTHERS}[kind](scene, rng)
        start = cold_start(self.points, self.stages.size, self.spec.state.hidden[2])
        state = self._look(shown, start, self.spec.iterations.cold)
        self._note(kind, shown, state)
        return shown, state

    def tracked(self, face: CropScene, state: State, rng: Rng) -> None:
        box = near(CropScene(face.rgb, face.box, face.box), rng, 0.05, 0.05).box
        moved = CropScene(face.rgb, box, face.face)
        self._note("tracked", moved, self._look(moved, state, self.spec.iterations.tracking))

    def gone(self, other: CropScene, state: State) -> None:
        for _ in range(2):
            state = self._look(other, state, self.spec.iterations.tracking)
        self._note("gone", other, state)

    def _look(self, scene: CropScene, state: State, count: int) -> State:
        features = self.stages.extract(sample_crop(scene.rgb, scene.box, self.stages.size))
        *_, state = steps(self.stages, features, state, count, self.gate)
        return state

    def _note(self, kind: str, scene: CropScene, state: State) -> None:
        fit = fit_crop(self.points, state.landmarks[0, :, :2])
        if not fit.sound:
            return  # the tracker refuses these without asking for a confidence
        target = target_crop(fit, scene.box, self.stages.size, self.spec.preprocessing.crop)
        on_face = _outcome(target, scene.face)
        if on_face is not None:
            self.seen.append(Observation(kind, log_spread(state.landmarks, fit), on_face))


def _outcome(found: CropBox, face: CropBox | None) -> bool | None:
    if face is None:
        return False
    shift = math.hypot(found.center_x - face.center_x, found.center_y - face.center_y) / face.side
    scale = abs(math.log(found.side / face.side))
    if shift <= ON_FACE[0] and scale <= ON_FACE[1]:
        return True
    return False if shift > OFF_FACE[0] or scale > OFF_FACE[1] else None


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
    bias, slope = fit_logistic(positives, negatives)
    if slope >= 0:
        raise ValueError("the network is not surer with a face in the crop than without: is it trained?")
    false = np.quantile(bias + slope * negatives, 1 - FALSE_ACCEPTANCE, method="higher")
    weak = np.quantile(bias + slope * positives, WEAK, method="lower")
    found = max(0.0, float(false))
    lost = min(float(weak), found - HYSTERESIS)
    spec = ConfidenceSpec(
        bias=round(bias, 3),
        w_spread=round(slope, 3),
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


def labelled_faces(folder: Path, split: str, layout: Layout, count: int, seed: int = 0) -> Iterator[CropScene]:
    """Yield up to `count` faces in random order, with the crop that the rule gives for their labels."""
    table = np.load(folder / f"{split}.npz")
    with tarfile.open(folder / f"{split}.tar") as images:
        for i in np.random.default_rng(seed).permutation(len(table["names"]))[:count]:
            file = images.extractfile(f"{table['names'][i].removesuffix('.jpg')}.jpg")
            assert file is not None
            bgr = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
            face = crop_of(fit_crop(layout.points, table["ibug68"][i]), CROP)
            yield CropScene(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), face, face)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and print the constants of a checkpoint for some layouts."""
    parser = argparse.ArgumentParser(prog="python -m qlot.export.confidence.fit", description=main.__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint file")
    parser.add_argument("--data", type=Path, required=True, help="folder with faces_train and faces_val")
    parser.add_argument("--layouts", nargs="+", default=["wflw98"], help="names or files of layouts")
    parser.add_argument("--faces", type=int, default=300, help="faces to fit on; half as many to validate on")
    options = parser.parse_args(arguments)
    model, labels = load_checkpoint(options.weights), load_layout("ibug68")
    out: dict[str, dict[str, object]] = {"confidence": {}, "validation": {}}
    for layout in map(load_layout, options.layouts):
        stages = TorchNetwork(model, layout)
        spec = tracker_spec(model.config, layout, UNFITTED)
        train = labelled_faces(options.data, "faces_train", labels, options.faces)
        held_back = labelled_faces(options.data, "faces_val", labels, options.faces // 2)
        fitted = fit_confidence(collect(stages, spec, train), f"{options.faces} faces of faces_train")
        out["confidence"][layout.name] = fitted.model_dump()
        out["validation"][layout.name] = separation(collect(stages, spec, held_back, seed=1), fitted)
    sys.stdout.write(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
