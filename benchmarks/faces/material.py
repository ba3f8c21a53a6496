"""The faces: people and clips held back from training, and pictures on which people placed points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlot.benchmarks.faces.placed import read_placed
from qlot.training.data.clip import Array, Clip, Source
from qlot.training.data.sources.every_layout import EveryLayout
from qlot.training.data.sources.stills import LABEL_OFFSET, LabelledFaces
from qlot.training.evaluation.datasets import PEOPLE, TEACHER, open_data

VAL, TRAIN, NEW = "faces_val", "faces_train", "faces_new_train"
DENOISED = "_tta.npz"  # tables of the teacher's mean over six runs


@dataclass(frozen=True, eq=False)
class FaceMaterial:
    """What is compared on."""

    val: LabelledFaces  # the 68 labels less their offset
    teacher: LabelledFaces  # the teacher's denoised points of the same pictures
    placed: Source  # the teacher's points of the pictures with placed points
    placed_rows: tuple[int, ...]
    placed_points: Array  # (F, 189, 2)
    videos: tuple[Clip, ...]
    fit: tuple[Array, Array]  # of training faces: the teacher's (F, 478, 2) and the 68 labels, for a linear map

    @classmethod
    def open(cls, data: Path) -> FaceMaterial:
        """Read the shared faces and videos.

        Raises:
            DataError: something is missing.
        """
        faces = data / "faces"
        rows, points = read_placed(faces / f"{NEW}.npz")
        train = LabelledFaces(faces / TRAIN, TEACHER, table=faces / f"{TRAIN}{DENOISED}").landmarks
        labels = LabelledFaces(faces / TRAIN, PEOPLE, offset=LABEL_OFFSET).landmarks
        known = np.isfinite(train).all((1, 2))
        return cls(
            val=LabelledFaces(faces / VAL, PEOPLE, offset=LABEL_OFFSET),
            teacher=LabelledFaces(faces / VAL, TEACHER, table=faces / f"{VAL}{DENOISED}"),
            placed=LabelledFaces(faces / NEW, TEACHER),
            placed_rows=tuple(rows.tolist()),
            placed_points=points,
            videos=tuple(video.load() for video in open_data("faces-video", data, "val").videos),
            fit=(train[known].astype(np.float64), labels[known].astype(np.float64)),
        )


def clips_in(source: Source, layout: str, rows: Sequence[int] | None = None) -> list[Clip]:
    """Return one-frame clips of a source of the teacher's points, in a layout."""
    rng = np.random.default_rng(0)
    taken = source if layout == TEACHER else EveryLayout(source, {layout: 1.0})
    return [taken.clip(i, 1, rng) for i in (range(len(source)) if rows is None else rows)]
