"""Whole tracker runs as numbers: what the refiner answered and what the tracker made of it.

`python -m tests.runtime.tracker_trace` prints the file. A port replays the answers in order on black frames, so it
needs neither a network nor the pictures; its sampler is tested by `crop_vectors.json`.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import SteadySpec
from qlot.runtime.errors import TimeUnitWarning
from qlot.runtime.geometry import FloatArray
from qlot.runtime.network.state import State
from qlot.runtime.tracking.result import TrackResult
from qlot.runtime.tracking.tracker import Tracker
from tests.runtime.disc import DiscStages, disc_spec, scene


class Recording(DiscStages):
    """The disc's stages, with answers rounded to what a file keeps; the hidden state stays as it is given."""

    def __init__(self) -> None:
        self.answers: list[dict[str, list[list[float]]]] = []

    def refine(self, features: Mapping[str, FloatArray], state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        rounded = [np.round(part.astype(np.float64), 3) for part in super().refine(features, state)[:2]]
        self.answers.append({"displacement": rounded[0][0].tolist(), "covariance": rounded[1][0].tolist()})
        return rounded[0].astype(np.float32), rounded[1].astype(np.float32), state.hidden


Event = tuple[float, NDArray[np.uint8]]


def following() -> list[Event]:
    """Search, find, rest, move, jump, stamps out of order, a short occlusion, a loss, a return, a gap, a new size."""
    nothing, events, now = scene(0, 0, 0), [], 5.0

    def add(count: int, step: float, *frames: NDArray[np.uint8]) -> None:
        nonlocal now
        for i in range(count):
            now = round(now + step, 6)
            events.append((now, frames[i % len(frames)]))

    add(3, 1 / 30, nothing)
    add(8, 1 / 30, scene(45, 80, 12))
    for i in range(12):
        add(1, 1 / 30, scene(45 + 2 * i, 80 - i, 12 + 0.3 * i))
    add(4, 1 / 60, scene(98, 60, 16))
    events += [(now, nothing), (now - 0.2, nothing)]
    add(3, 1 / 25, nothing)
    add(3, 1 / 25, scene(98, 60, 16))
    add(30, 1 / 20, nothing)
    add(8, 1 / 20, scene(96, 62, 16))
    add(1, 0.7, scene(96, 62, 16))
    add(2, 1 / 30, scene(97, 62, 16))
    add(1, -3.0, scene(97, 62, 16))
    add(3, 1 / 30, scene(60, 70, 20, 120, 140))
    return events


def slow() -> list[Event]:
    """Frames too far apart to be followed, of two sizes in turn: the search goes on over them. The hint is due once."""
    small, large = scene(628, 100, 9, 640, 120), scene(1256.5, 200.5, 18, 1280, 240)
    frames = [small, large] * 3 + [small] * 14
    return [(4.5 * i, frame) for i, frame in enumerate(frames)]


def recording() -> list[Event]:
    """Nothing in the first frame, a face, nothing again until it is lost, a face elsewhere."""
    nothing = scene(0, 0, 0)
    frames = [nothing] * 2 + [scene(45, 80, 12)] * 2 + [nothing] * 5 + [scene(120, 40, 12)] * 2
    return [(round(i / 20, 6), frame) for i, frame in enumerate(frames)]


RUNS: dict[str, tuple[list[Event], int, bool, bool]] = {  # name -> frames, rotation, mirrored, offline
    "following": (following(), 90, True, False),
    "slow": (slow(), 0, False, False),
    "offline": (recording(), 0, False, True),
}


def passed(upright: NDArray[np.uint8], rotation: int, mirrored: bool) -> NDArray[np.uint8]:
    """The frame a camera held like this would have passed."""
    return np.rot90(upright, rotation // 90)[:, :: -1 if mirrored else 1]


def outcome(result: TrackResult) -> dict[str, Any]:
    """What a port must reproduce; wall time is left out."""

    def numbers(array: FloatArray | None) -> Any:
        return None if array is None else array.astype(np.float64).round(4).tolist()

    box = result.crop
    return {
        "timestamp": result.timestamp,
        "status": result.status.value,
        "processed": result.processed,
        "iterations": result.iterations,
        "confidence": round(result.confidence, 6),
        "crop": box and [round(v, 4) for v in (box.center_x, box.center_y, box.side)],
        "landmarks": numbers(result.landmarks),
        "covariances": numbers(result.covariances),
    }


def look(tracker: Tracker, frame: NDArray[np.uint8], timestamp: float) -> tuple[TrackResult, bool]:
    """Show a frame; return the answer, and whether the hint at another unit of time came with it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TimeUnitWarning)
        result = tracker.update(frame, timestamp)
    return result, any(w.category is TimeUnitWarning for w in caught)


SPEC = disc_spec().model_copy(update={"steady": SteadySpec()})


def run(events: Sequence[Event], rotation: int, mirrored: bool, offline: bool) -> dict[str, Any]:
    stages, frames = Recording(), []
    tracker = Tracker(SPEC, stages, rotation=rotation, mirrored=mirrored, offline=offline)
    for timestamp, upright in events:
        frame, before = passed(upright, rotation, mirrored), len(stages.answers)
        result, hint = look(tracker, frame, timestamp)
        height, width = frame.shape[:2]
        head = {"timestamp": timestamp, "width": width, "height": height}
        frames.append(head | {"refiner": stages.answers[before:], "hint": hint, "expected": outcome(result)})
    return {"rotation": rotation, "mirrored": mirrored, "offline": offline, "frames": frames}


def trace() -> dict[str, Any]:
    return {"spec": SPEC.model_dump(mode="json"), "runs": {name: run(*how) for name, how in RUNS.items()}}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trace()) + "\n")
