"""Landmarks with time stamps as CSV or JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

import numpy as np

from qlot.runtime.partial import written_whole
from qlot.runtime.tracking.result import TrackResult

TableFormat = Literal["csv", "jsonl"]
Write = Callable[[int, TrackResult], None]

FRAME_COLUMNS = ("frame", "timestamp", "status", "confidence")
LANDMARK_COLUMNS = ("x", "y", "sxx", "sxy", "syy")


@contextmanager
def landmark_table(path: Path, names: Sequence[str], form: TableFormat) -> Iterator[Write]:
    """Yield a function that appends one frame (index, result); the file appears when the block ends.

    frame: index from 0. timestamp: seconds. status: searching, tracking, lost. confidence: 0 to 1. Per landmark x, y in
    pixels of the frame (pixel centres at integers) and the covariance sxx, sxy, syy in squared pixels.

    csv: one header row, then one row per frame; a landmark's columns are `<name>_x` ... `<name>_syy`, empty in frames
    without a face. jsonl: one object per line and no header line, so that every line explains itself;
    `"landmarks": {"<name>": [x, y, sxx, sxy, syy], ...}`, or null in frames without a face.
    """
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        yield _csv(file, names) if form == "csv" else _jsonl(file, names)


def _csv(file: TextIO, names: Sequence[str]) -> Write:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow([*FRAME_COLUMNS, *(f"{name}_{column}" for name in names for column in LANDMARK_COLUMNS)])

    def write(index: int, result: TrackResult) -> None:
        values = _values(result)
        cells = [""] * (len(names) * len(LANDMARK_COLUMNS)) if values is None else [v for row in values for v in row]
        rows.writerow([index, result.timestamp, str(result.status), round(result.confidence, 4), *cells])

    return write


def _jsonl(file: TextIO, names: Sequence[str]) -> Write:
    def write(index: int, result: TrackResult) -> None:
        values = _values(result)
        head = (index, result.timestamp, str(result.status), round(result.confidence, 4))
        landmarks = None if values is None else dict(zip(names, values, strict=True))
        line = dict(zip(FRAME_COLUMNS, head, strict=True)) | {"landmarks": landmarks}
        file.write(json.dumps(line, separators=(",", ":")) + "\n")

    return write


def _values(result: TrackResult) -> list[list[float]] | None:
    """Return (N, 5) numbers with the digits that carry information: 1/1000 px, and five figures of the covariance."""
    if result.landmarks is None or result.covariances is None:
        return None
    points = np.round(result.landmarks.astype(np.float64), 3).tolist()
    spreads = result.covariances.astype(np.float64)[:, [0, 0, 1], [0, 1, 1]].tolist()
    return [[*point, *(float(f"{s:.5g}") for s in spread)] for point, spread in zip(points, spreads, strict=True)]
