"""A whole tracker run as numbers: what the refiner answered and what the tracker made of it.

`python -m tests.runtime.tracker_trace` prints the file. A port replays the answers in order on black frames, so it
needs neither a network nor the pictures; its sampler is tested by `crop_vectors.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.network.state import State
from qlot.runtime.tracking.result import FloatArray, TrackResult
from qlot.runtime.tracking.tracker import Tracker
from tests.runtime.disc import DiscStages, disc_spec, scene

ROTATION, MIRRORED = 90, True


class Recording(DiscStages):
    """The disc's stages, with answers rounded to what a file keeps; the hidden state stays as it is given."""

    def __init__(self) -> None:
        self.answers: list[dict[str, list[list[float]]]] = []

    def refine(self, features: Mapping[str, FloatArray], state: State) -> tuple[FloatArray, FloatArray, FloatArray]:
        rounded = [np.round(part.astype(np.float64), 3) for part in super().refine(features, state)[:2]]
        self.answers.append({"displacement": rounded[0][0].tolist(), "covariance": rounded[1][0].tolist()})
        return rounded[0].astype(np.float32), rounded[1].astype(np.float32), state.hidden


def story() -> list[tuple[float, NDArray[np.uint8]]]:
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


def passed(upright: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame a camera with `ROTATION` and `MIRRORED` would have passed."""
    return np.rot90(upright, ROTATION // 90)[:, ::-1]


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


def trace() -> dict[str, Any]:
    spec, stages = disc_spec(), Recording()
    tracker, frames = Tracker(spec, stages, rotation=ROTATION, mirrored=MIRRORED), []
    for timestamp, upright in story():
        frame, before = passed(upright), len(stages.answers)
        result = tracker.update(frame, timestamp)
        height, width = frame.shape[:2]
        answers = stages.answers[before:]
        frames.append(
            {"timestamp": timestamp, "width": width, "height": height, "refiner": answers, "expected": outcome(result)}
        )
    return {"spec": spec.model_dump(mode="json"), "rotation": ROTATION, "mirrored": MIRRORED, "frames": frames}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trace()) + "\n")
