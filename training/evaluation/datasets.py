"""What is evaluated on: the labelled pictures and videos that a folder holds, by its kind and split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from qlot.training.data.clip import Clip, DataError, Source

Kind = Literal["faces-video", "wflw", "300w", "wflw-v"]
Split = Literal["val", "train"]

HELD_BACK = ("sbwe5n", "swiz3n", "lwbsza")  # videos for validation, whole
HELD_BACK_END = ("cap13_edit2", 200)  # and the last frames of one: in time, not in identity
TEACHER, PEOPLE = "mediapipe478", "ibug68"  # the two conventions that the pictures are labelled by
MOVED = "-moved"  # the same pictures, their labels less the offset that all of them have


@dataclass(frozen=True, eq=False)
class Stills:
    """A set of labelled pictures."""

    name: str
    layout: str
    source: Source


@dataclass(frozen=True, eq=False)
class Video:
    """A labelled video, decoded when it is its turn."""

    name: str
    layout: str
    load: Callable[[], Clip]


@dataclass(frozen=True)
class EvaluationData:
    """All there is to evaluate on."""

    stills: tuple[Stills, ...] = ()
    videos: tuple[Video, ...] = ()

    @property
    def layouts(self) -> tuple[str, ...]:
        """The layouts of the labels, each once."""
        return tuple(dict.fromkeys([*(s.layout for s in self.stills), *(v.layout for v in self.videos)]))

    def of(self, layout: str) -> EvaluationData:
        """Return the part that is labelled by one layout."""
        stills = tuple(s for s in self.stills if s.layout == layout)
        return EvaluationData(stills, tuple(v for v in self.videos if v.layout == layout))


def open_data(kind: Kind, folder: Path, split: Split = "val") -> EvaluationData:
    """Find what a folder holds; nothing is decoded yet.

    Args:
        kind: faces-video: `faces/faces_SPLIT.tar` and `.npz`, and `video/*.mpg` or `.mp4` with an `.npz` each. wflw,
            300w, wflw-v: the published trees.
        folder: where it is.
        split: val is held back from training; train is what was trained on.

    Raises:
        DataError: a file is missing or unusable.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: --data names the one that holds the evaluation material.")
    return _OPEN[kind](folder, split)


def _faces_video(folder: Path, split: Split) -> EvaluationData:
    from qlot.training.data.sources.stills import LABEL_OFFSET, LabelledFaces

    tar, _ = _there(folder / "faces" / f"faces_{split}.tar"), _there(folder / "faces" / f"faces_{split}.npz")
    stills = (
        Stills(f"faces_{split}", PEOPLE, LabelledFaces(tar, PEOPLE)),
        Stills(f"faces_{split}{MOVED}", PEOPLE, LabelledFaces(tar, PEOPLE, offset=LABEL_OFFSET)),
        Stills(f"faces_{split}", TEACHER, LabelledFaces(tar, TEACHER)),
    )
    return EvaluationData(stills, _videos(folder / "video", split))


def _videos(folder: Path, split: Split) -> tuple[Video, ...]:
    """Return the videos of a split; a folder without any is no error."""
    out = []
    for path in sorted(p for p in folder.glob("*") if p.suffix in {".mpg", ".mp4"}):
        _there(path.with_suffix(".npz"))
        if path.stem == HELD_BACK_END[0]:
            parts: dict[Split, tuple[int, int | None]] = {
                "val": (-HELD_BACK_END[1], None),
                "train": (0, -HELD_BACK_END[1]),
            }
        else:
            parts = {"val" if path.stem in HELD_BACK else "train": (0, None)}
        if split in parts:
            out.append(Video(path.stem, TEACHER, partial(_load_video, path, *parts[split])))
    return tuple(out)


def _load_video(path: Path, start: int, stop: int | None) -> Clip:
    from qlot.training.data.sources.video import LabelledVideo

    video = LabelledVideo(path, start, stop)
    return video.frames_of(range(len(video)))


def _wflw(folder: Path, split: Split) -> EvaluationData:
    from qlot.training.data.sources.wflw import Wflw

    source = Wflw(folder, "test" if split == "val" else "train")
    return EvaluationData((Stills(source.name, "wflw98", source),))


def _300w(folder: Path, split: Split) -> EvaluationData:
    from qlot.training.data.sources.w300 import CHALLENGING, COMMON, TRAIN, W300

    source = W300(folder, (*COMMON, *CHALLENGING) if split == "val" else TRAIN)
    return EvaluationData((Stills(source.name, "ibug68", source),))


def _wflw_v(folder: Path, split: Split) -> EvaluationData:
    from qlot.training.data.sources.wflw_v import WflwV

    if split == "train":
        raise DataError("wflw-v is for evaluation alone: leave out --split train.")
    source = WflwV(folder)
    names = [source.identity(i).rpartition("/")[2] for i in range(len(source))]

    def load(index: int) -> Clip:
        frames = len(np.load(folder / "landmarks" / f"{names[index]}.npy", mmap_mode="r"))
        return source.clip(index, frames, np.random.default_rng(0))

    return EvaluationData(videos=tuple(Video(name, "wflw98", partial(load, i)) for i, name in enumerate(names)))


def _there(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is missing: is --data the right folder, and --data-kind what it holds?")
    return path


_OPEN: dict[Kind, Callable[[Path, Split], EvaluationData]] = {
    "faces-video": _faces_video,
    "wflw": _wflw,
    "300w": _300w,
    "wflw-v": _wflw_v,
}
