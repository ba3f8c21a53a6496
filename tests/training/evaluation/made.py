"""Made-up material: the disc tracker's world as labelled clips, and a tiny data folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from qlot.model.layout import load_layout
from qlot.training.data.clip import Array, Clip, Image
from qlot.training.evaluation.subject import ReadyNetwork
from tests.runtime.disc import POINTS, DiscStages, disc_spec, scene, truth

Path3 = Callable[[int], tuple[float, float, float]]  # frame -> x, y, radius of the disc; a radius of 0 hides it


def disc_network() -> ReadyNetwork:
    """Return the disc tracker as a network under evaluation."""
    return ReadyNetwork(disc_spec(), DiscStages(), fitted=True)


def disc_clip(frames: int, path: Path3, noise: Array | None = None, name: str = "disc") -> Clip:
    """Return a clip of the moving disc; `noise` (frames, 5, 2) is added to the labels, not to the pictures."""
    places = [path(t) for t in range(frames)]
    labels = np.stack([truth(x, y, r or 18.0) for x, y, r in places])
    return Clip(
        frames=[scene(*place) for place in places],
        landmarks=labels if noise is None else labels + noise,
        valid=np.ones((frames, len(POINTS)), np.bool_),
        queries=POINTS,
        layout="disc",
        identity=name,
        source=name,
        fps=25.0,
    )


@dataclass
class DiscFaces:
    """A source of stills: discs in different places, two pictures a person."""

    count: int = 6
    error: float = 0.0  # pixels by which the labels lie to the right of the truth
    name: str = "discs"

    def __len__(self) -> int:
        return self.count

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        rng.random(7)  # a source may draw as it likes: the disturbance has a generator of its own
        place = np.random.default_rng(index).uniform((60, 45, 14), (100, 75, 20))
        noise = np.full((length, len(POINTS), 2), (self.error, 0.0))
        clip = disc_clip(length, lambda _: tuple(place), noise, f"disc {index}")
        return Clip(**{**vars(clip), "identity": self.identity(index)})

    def identity(self, index: int) -> str:
        return f"person {index // 2}"

    def groups(self, index: int) -> tuple[str, ...]:
        return ("first",) if index == 0 else ()


def write_data(folder: Path, faces: int = 4, frames: int = 12) -> Path:
    """Write a folder like the shared one: `faces` pictures of two people and one held-back video."""
    random = np.random.default_rng(0)
    (folder / "faces").mkdir(parents=True)
    (folder / "video").mkdir()
    names = [f"{i:05d}.jpg" for i in range(faces)]
    with tarfile.open(folder / "faces" / "faces_val.tar", "w") as tar:
        for name in names:
            data = cv2.imencode(".jpg", random.integers(0, 255, (96, 96, 3), np.uint8))[1].tobytes()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    np.savez(
        folder / "faces" / "faces_val.npz",
        names=np.array(names),
        person=np.arange(faces) % 2,
        ibug68=np.stack([_labels("ibug68", 48 + i, 40, 30) for i in range(faces)]),
        mediapipe478=np.stack([_labels("mediapipe478", 48 + i, 40, 30) for i in range(faces)]),
    )
    _write_video(folder / "video" / "sbwe5n.mp4", [_moving(t) for t in range(frames)])
    labels = np.stack([_labels("mediapipe478", 60 + t, 50, 30) for t in range(frames)])
    np.savez(folder / "video" / "sbwe5n.npz", mediapipe478=labels)
    return folder


def _labels(layout: str, x: float, y: float, scale: float) -> Array:
    return load_layout(layout).points[:, :2] * (scale, -scale) + (x, y)


def _moving(t: int) -> Image:
    y, x = np.mgrid[:96, :128]
    return np.stack([np.hypot(x - 60 - t, y - 50) * 2, x, y], -1).clip(0, 255).astype(np.uint8)


def _write_video(path: Path, frames: list[Image]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
