"""A tiny network's recipe, made-up faces for it, and a command line that tests start as a process of their own."""

from __future__ import annotations

import io
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from qlot.model.layout import load_layout
from qlot.training.data.clip import Array, Clip, DataError, Image
from qlot.training.fit.loop import Run
from qlot.training.fit.recipe import Recipe

SIZES: dict[str, Any] = {
    "image_size": 64, "stem": [8, 8],
    "stages": [
        {"width_in": 8, "width_mid": 4, "width_out": 8, "blocks": 1, "downsample": False, "light": False, "kernel": 3,
         "layers": 1},
        {"width_in": 8, "width_mid": 4, "width_out": 12, "blocks": 1, "downsample": True, "light": True, "kernel": 3,
         "layers": 1},
    ],
    "channels": 16, "lateral": 16, "groups": 4, "correlation_heads": [2, 2], "correlation_kernels": [2, 1],
    "harmonic_pairs": 2, "low_channels": 2, "template_widths": [8, 12], "branch_channels": [4, 4], "state_width": 4,
    "feature_width": 16, "hidden_width": 8, "mixer_heads": 2, "mixer_slots": 2, "mixer_key": 4, "head_width": 4,
}  # fmt: skip
POINTS = load_layout("ibug68").points[[8, 27, 30, 36, 45, 48, 54]]


def recipe(**changes: Any) -> Recipe:
    """Return a run of six steps that takes a second."""
    values: dict[str, Any] = {
        "preset": "tiny", "model": SIZES, "steps": 6, "batch": 2, "frames": 3, "landmarks": 6, "warm_up": 2,
        "save_every": 100, "validate_every": 100, "ema": 0.5, "material": [{"kind": "faces", "path": "-", "share": 1}],
        "weights": {"flip_share": 0.5, "temporal_from": 0.0},
    }  # fmt: skip
    return Recipe.model_validate(values | changes)


def picture(landmarks: Array, size: int = 80) -> Image:
    """Return a grey picture with a bright blob at each landmark."""
    y, x = np.mgrid[:size, :size]
    blobs = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in landmarks)
    return np.rint(np.clip(40 + 180 * np.asarray(blobs), 0, 255))[..., None].repeat(3, -1).astype(np.uint8)


@dataclass
class Blobs:
    """A source of made-up faces, of which one may be broken."""

    points: Array
    name: str = "blobs"
    broken: int | None = None

    def __len__(self) -> int:
        return 5

    def identity(self, index: int) -> str:
        return f"{self.name}/{index}"

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        if index == self.broken:
            raise DataError(f"face-{index}.jpg is not a readable picture")
        at = (38.0 + index, 36.0) + self.points[:, :2] * (20.0, -20.0)
        n = len(at)
        return Clip(
            frames=(picture(at),) * length,
            landmarks=np.stack([at] * length),
            valid=np.ones((length, n), np.bool_),
            queries=self.points,
            layout="few",
            identity=self.identity(index),
            source=f"{self.name}:{index}",
        )


def write_faces(path: Path, count: int = 4, damaged: int | None = None) -> None:
    """Write `PATH.tar` and `PATH.npz` with 68 points each, as `LabelledFaces` reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels, names = [], [f"{i}.png" for i in range(count)]
    with tarfile.open(path.with_suffix(".tar"), "w") as tar:
        for i, name in enumerate(names):
            labels.append((40.0 + i, 40.0) + load_layout("ibug68").points[:, :2] * (20.0, -20.0))
            data = cv2.imencode(".png", picture(labels[-1]))[1].tobytes()
            data = data[:40] if i == damaged else data
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    people = np.arange(count) // 2
    np.savez(path.with_suffix(".npz"), names=np.array(names), ibug68=np.array(labels, np.float32), person=people)


def main(out: str, steps: str, micro: str, workers: str) -> None:
    """Train in this process; every step is said on standard output."""
    torch.set_num_threads(1)
    changes = {"steps": int(steps), "micro": int(micro)}
    Run(recipe(**changes), [(Blobs(POINTS), 1.0)], Path(out), workers=int(workers), accelerator="cpu", report=_say)()


def _say(progress: object) -> None:
    sys.stdout.write(f"{progress}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
