"""WFLW-V: 1,000 videos of five seconds with 98 landmarks in each frame, half of them hard to track without flicker.

Micaelli, Vahdat, Yin, Kautz, Molchanov, "Recurrence without Recurrence: Stable Video Landmark Detection with Deep
Equilibrium Models", CVPR 2023. The tree that its release documents, <id> being the video's on YouTube:

    videos/<id>.mp4
    landmarks/<id>.npy      (T, 98, 2): x y in pixels of the frame, a row for each of the T frames, in the order of WFLW
    bboxes/<id>.npy         (T, 4 or more): x y of two opposite corners; not needed here and not read

The labels are semi-automatic: expect the bias of the networks that helped. Videos that their owners withdrew are
missing. The release's own drawing rounds positions to the nearest pixel: pixel centres at integers from 0.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from qlot.model.layout import load_layout
from qlot.runtime.errors import VideoError
from qlot.runtime.media.video import VideoReader
from qlot.training.data.clip import Array, Clip, DataError, Image

_POINTS = 98


class WflwV:
    """The videos of WFLW-V that are there, one index each.

    Who is shown is not published: the video stands for identity.

    A clip is decoded from the start of its video, since only a count from there finds the frame that a row of labels
    belongs to: up to a second for a large frame size. Training that is held up by this had better cache the crops.

    Args:
        root: the folder that holds videos and landmarks.

    Raises:
        DataError: a folder is missing, no video is there, or a video has no labels; labels may lack their video.
    """

    def __init__(self, root: Path) -> None:
        self.name = "wflw-v"
        self._videos, self._labels = root / "videos", root / "landmarks"
        self._layout = load_layout("wflw98")
        there, labelled = _stems(self._videos, ".mp4"), _stems(self._labels, ".npy")
        unlabelled = sorted(there - labelled)
        if unlabelled:
            raise DataError(
                f"{self._labels} lacks {unlabelled[0]}.npy ({len(unlabelled)} videos have no labels): unpack the "
                "landmark annotations there"
            )
        self._ids = sorted(labelled & there)
        if not self._ids:
            raise DataError(f"{self._videos} has none of the {len(labelled)} videos: download them as the release says")

    def __len__(self) -> int:
        return len(self._ids)

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return `length` frames in a row; where they start is drawn.

        Raises:
            DataError: labels or video cannot be read, do not belong together, or are shorter than `length`.
        """
        name = self._ids[index]
        landmarks = self._landmarks(name)
        if length > len(landmarks):
            raise DataError(
                f"{self._labels / name}.npy has {len(landmarks)} frames, {length} were asked for: use shorter clips, "
                "or leave this video out"
            )
        start = int(rng.integers(0, len(landmarks) - length + 1))
        frames, fps = self._frames(name, start, length)
        landmarks = landmarks[start : start + length]
        return Clip(
            frames=frames,
            landmarks=landmarks,
            valid=np.asarray(np.isfinite(landmarks).all(-1), np.bool_),
            queries=self._layout.points,
            layout=self._layout.name,
            identity=self.identity(index),
            source=f"{self.name}: {self._videos / name}.mp4, frame {start}",
            fps=fps,
        )

    def identity(self, index: int) -> str:
        """Return the id of the video, marked as WFLW-V's."""
        return f"wflw-v/{self._ids[index]}"

    def _landmarks(self, name: str) -> Array:
        path = self._labels / f"{name}.npy"
        try:
            landmarks = np.asarray(np.load(path, allow_pickle=False), np.float64)
        except (OSError, ValueError, EOFError) as e:
            raise DataError(f"{path} cannot be read ({e}): replace it by an intact copy") from e
        if landmarks.ndim != 3 or landmarks.shape[1:] != (_POINTS, 2):
            raise DataError(f"{path} is of shape {landmarks.shape}, (frames, {_POINTS}, 2) is needed: is it of WFLW-V?")
        return landmarks

    def _frames(self, name: str, start: int, length: int) -> tuple[tuple[Image, ...], float]:
        path = self._videos / f"{name}.mp4"
        try:
            reader = VideoReader(path)
            frames = tuple(frame.rgb for frame in islice(reader, start, start + length))
        except VideoError as e:
            raise DataError(f"{e}. Download that video again, or remove it") from e
        if reader.broken or len(frames) < length:  # one frame less, and every later row belongs to another picture
            raise DataError(
                f"{path} yields {start + len(frames)} frames with {reader.broken} broken, its labels need "
                f"{start + length}: download that video again, or remove it"
            )
        return frames, reader.fps


def _stems(folder: Path, suffix: str) -> set[str]:
    """Return the file names without suffix; ids contain no dot, but may start with a dash."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give the one above WFLW-V's videos and landmarks")
    return {p.stem for p in folder.glob(f"*{suffix}")}
