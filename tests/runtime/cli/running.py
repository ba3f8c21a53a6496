"""`qlot` run in this process, clips for it, and what it has written."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from qlot.assets import sample_clip
from qlot.cli.main import run
from qlot.runtime.media.video import VideoReader
from qlot.runtime.media.video_writer import VideoWriter
from tests.runtime.bundles import edit_manifest, write_bundle

TABLE_ALONE = ("--no-video", "--no-summary")  # for tests of what is in the table: a page takes a second
FACES = ["landmarks.csv", "summary.png", "tracked.mp4"]


def qlot(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        run([str(a) for a in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def sure_of(folder: Path, bias: float) -> Path:
    """A bundle that takes every crop for a face (bias 50) or none (bias -50)."""
    edit_manifest(write_bundle(folder), lambda m: m["confidence"].update(bias=bias))
    return folder


def scene(i: int, height: int = 96, width: int = 128) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x + 3 * i, y + i, x + y], -1).astype(np.uint8)


def clip(path: Path, times: list[float], turns: int = 0) -> Path:
    with VideoWriter(path) as writer:
        for i, t in enumerate(times):
            writer.write(np.ascontiguousarray(np.rot90(scene(i), turns)), t)
    return path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "landmarks.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(folder: Path, *endings: str) -> np.ndarray:
    """(frames, columns) of the landmark columns with these endings; nan where empty."""
    table = rows(folder)
    names = [n for n in table[0] if n.endswith(endings)]
    return np.array([[float(row[n] or "nan") for n in names] for row in table])


def first_frame() -> np.ndarray:
    return next(iter(VideoReader(sample_clip()))).rgb
