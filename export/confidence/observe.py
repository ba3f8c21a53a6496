"""What a network says of scenes: how wide its uncertainty is with and without a face in the crop."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from qlot.export.confidence.scenes import FACES, OTHERS, CropScene, Rng, near
from qlot.runtime.bundle.manifest import TrackerSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.recurrence import Gate, Network, steps
from qlot.runtime.network.state import State, cold_start
from qlot.runtime.tracking.confidence import log_spread
from qlot.runtime.tracking.crop import fit_crop, sample_crop, target_crop

ON_FACE, OFF_FACE = (0.08, 0.15), (0.2, 0.35)  # shift over side and ln side of the fitted crop against the face's own


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
