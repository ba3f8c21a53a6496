"""A labelled video: one landmark array per frame in an .npz beside it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from qlot.model.layout import load_layout
from qlot.runtime.errors import QlotError
from qlot.runtime.media.video import FALLBACK_RATE, VideoReader
from qlot.training.data.clip import Clip, DataError, Image

TEACHER = "mediapipe478"


class LabelledVideo:
    """Frames `start` to `stop` of a video with teacher landmarks; decoded once and kept in memory.

    Args:
        path: the video; its labels are in `PATH.npz` under `mediapipe478`, (T, 478, 2 or 3) pixels.
        start: first frame.
        stop: frame after the last, negative from the end; None for all.
        identity: the person; by default the file's name.
        offset: (x, y) pixels by which the stored labels lie off; taken out of them.
        table: another .npz with labels of the same frames.

    Raises:
        DataError: files missing or damaged, or not one label per frame.
    """

    def __init__(
        self,
        path: Path,
        start: int = 0,
        stop: int | None = None,
        identity: str | None = None,
        offset: tuple[float, float] = (0.0, 0.0),
        table: Path | None = None,
    ) -> None:
        self.name = path.stem
        self._identity = identity or f"video/{path.stem}"
        table = table or path.with_suffix(".npz")
        try:
            with np.load(table) as data:
                landmarks = data[TEACHER][..., :2].astype(np.float64) - np.array(offset)
        except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile) as e:
            raise DataError(f"{table}: no landmarks {TEACHER!r} to read ({e}). Fetch or make it again.") from e
        self.queries = load_layout(TEACHER).points
        if landmarks.shape[1:] != (len(self.queries), 2):
            raise DataError(
                f"{table}: landmarks {TEACHER!r} of shape {landmarks.shape}, not (T, {len(self.queries)}, 2)"
            )
        self.frames, self.fps = _decode(path)
        if len(self.frames) != len(landmarks):
            raise DataError(f"{path} has {len(self.frames)} frames, {table} labels {len(landmarks)}: make them anew.")
        self.frames, self.landmarks = self.frames[start:stop], landmarks[start:stop]
        self.valid = np.isfinite(self.landmarks).all(-1)
        if not self.frames:
            raise DataError(f"{path}: no frames between {start} and {stop}")

    def __len__(self) -> int:
        return len(self.frames)

    def identity(self, index: int) -> str:
        """Return the person."""
        return self._identity

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        """Return `length` frames from `index` on, or the last ones, one or two frames apart, forwards or backwards."""
        stride = int(rng.integers(1, 3)) if len(self) > 2 * length else 1
        reach = (length - 1) * stride
        if reach >= len(self):
            raise DataError(f"{self.name}: {len(self)} frames hold no clip of {length}")
        first = min(index, len(self) - 1 - reach)
        chosen = list(range(first, first + reach + 1, stride))
        return self.frames_of(chosen if rng.random() < 0.5 else chosen[::-1])

    def frames_of(self, chosen: list[int] | range) -> Clip:
        """Return a clip of the given frames."""
        return Clip(
            frames=[self.frames[i] for i in chosen],
            landmarks=np.nan_to_num(self.landmarks[chosen]),
            valid=self.valid[chosen],
            queries=self.queries,
            layout=TEACHER,
            identity=self._identity,
            source=self.name,
            fps=self.fps,
        )


def _decode(path: Path) -> tuple[list[Image], float]:
    try:
        frames = list(VideoReader(path))
    except (QlotError, OSError) as e:
        raise DataError(f"{path}: {e}") from e
    seconds = frames[-1].timestamp - frames[0].timestamp if frames else 0.0
    rate = (len(frames) - 1) / seconds if seconds > 0 else FALLBACK_RATE
    return [np.ascontiguousarray(f.rgb) for f in frames], rate
