"""Pictures from files, and the clip that a single labelled picture makes: what the sources of stills have in common."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from qlot.model.layout import Layout
from qlot.runtime.media.video import IMAGE_SUFFIXES
from qlot.training.data.clip import Array, Clip, DataError, Image


def read_picture(path: Path, upright: bool = False) -> Image:
    """Return a PNG or JPEG file as (H, W, 3) uint8 RGB.

    Args:
        path: the file.
        upright: turn it as its EXIF orientation says. Labels of published sets count the pixels as they are stored.

    Raises:
        DataError: a file that is missing, empty or cannot be decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}. Is the data set complete? Unpack it again") from e
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if picture is None:
        raise DataError(f"{path} is not a PNG or JPEG that can be decoded: replace it by an intact copy, or remove it")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def picture_files(folder: Path) -> list[Path]:
    """Return the PNG and JPEG files of a folder and those below, sorted; hidden ones are left out.

    Raises:
        DataError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give one that holds pictures")
    files = [p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    if not files:
        raise DataError(f"{folder} holds no pictures ({', '.join(IMAGE_SUFFIXES)})")
    return sorted(files)


def still(picture: Image, landmarks: Array, layout: Layout, length: int, identity: str, source: str) -> Clip:
    """Return a clip of `length` times the same picture; landmarks (N, 2) that are not finite are not valid."""
    valid = np.asarray(np.isfinite(landmarks).all(-1), np.bool_)
    return Clip(
        frames=(picture,) * length,
        landmarks=np.repeat(landmarks[None], length, 0),
        valid=np.repeat(valid[None], length, 0),
        queries=layout.points,
        layout=layout.name,
        identity=identity,
        source=source,
    )
