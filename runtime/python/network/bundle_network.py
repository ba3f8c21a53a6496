"""A bundle's graphs as the stages of the recurrence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import SessionError
from qlot.runtime.geometry import FloatArray
from qlot.runtime.network.pixels import to_bytes
from qlot.runtime.network.recurrence import Features, Gate
from qlot.runtime.network.sessions import open_stage
from qlot.runtime.network.sessions.base import Session
from qlot.runtime.network.state import State, clamp_output


class BundleNetwork:
    """Loads a bundle's sessions once; any number of trackers may share them, one call at a time.

    Args:
        bundle: an open bundle.
        threads: threads of the engine within one call.

    Raises:
        BundleError: a graph cannot be loaded or is not what the manifest says.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.size = bundle.manifest.preprocessing.size
        self._extractor = open_stage(bundle, "extractor", threads)
        self._of_bytes = self._extractor.inputs[0].dtype == "uint8"
        self._refiner = open_stage(bundle, "refiner", threads)
        unrolled = bundle.manifest.stages.get("refiner_unrolled")
        self._unrolled: Session | None = open_stage(bundle, "refiner_unrolled", threads) if unrolled else None
        self.unrolled_steps = unrolled.iterations if unrolled else 0

    @property
    def engine(self) -> str:
        """What runs the graphs: every printed result names it."""
        return self._extractor.engine

    def extract(self, image: FloatArray) -> Features:
        """Run the extractor on an image (1, 3, S, S), RGB in [0, 1]."""
        return self._extractor.run({"image": to_bytes(image) if self._of_bytes else image})

    def refine(self, features: Features, state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run one step: displacement (1, N, 2) px before the gate, covariance (1, N, 3), hidden (1, N, C)."""
        out = self._refiner.run({**features, "landmarks": state.landmarks, "hidden": state.hidden})
        _check_finite(out)
        return out["displacement"], out["covariance"], out["hidden_out"]

    def refine_unrolled(self, features: Features, state: State, gate: Gate) -> State:
        """Run all `unrolled_steps` of a frame in one call; the result is clamped, ready for the next frame.

        Raises:
            SessionError: the bundle was exported without an unrolled refiner.
        """
        if self._unrolled is None:
            raise SessionError("the bundle has no unrolled refiner: export it with --iterations K.")
        out = self._unrolled.run(
            {
                **features,
                "landmarks": state.landmarks,
                "hidden": state.hidden,
                "gate": np.array([gate.radius, gate.cutoff], np.float32),
            }
        )
        _check_finite(out)
        position = state.landmarks[..., :2] + out["total_displacement"]
        landmarks = np.concatenate([position, out["covariance"], out["displacement"]], -1)
        return State(clamp_output(landmarks, self.size), out["hidden_out"])


def _check_finite(tensors: Mapping[str, FloatArray]) -> None:
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise SessionError(f"the refiner returned {name} with values that are not finite; the frame is dropped.")
