"""Labels by MediaPipe's FaceLandmarker network, the better teacher for lids and irises, denoised.

    python -m qlot.training.tools.teacher face_landmarker.task DATA OUT

For every `DATA/faces/NAME.npz` and `DATA/video/NAME.npz` that says where faces are (`mediapipe478`, pixels), the
network of the task file runs on each picture or frame as MediaPipe would crop it, turned and scaled both ways and
mirrored, and OUT/faces/NAME.npz or OUT/video/NAME.npz gets the mean: pixel centres at integers. Over videos a
polynomial of second degree smooths five frames about each, which shifts nothing in time and leaves blinks.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import typer
from ai_edge_litert.interpreter import Interpreter

from qlot.model.layout import load_layout
from qlot.runtime.media.video import VideoReader
from qlot.runtime.partial import written_whole
from qlot.training.data.clip import Array, DataError, Image
from qlot.training.data.sources.video import TEACHER

SIZE = 256  # of the network's input
NETWORK = "face_landmarks_detector.tflite"
LOOKS = ((0.0, 1.0), (9.0, 0.9), (-9.0, 1.1))  # degrees, factor on the crop's side; each also mirrored
SAVITZKY_GOLAY = np.array([-3, 12, 17, 12, -3]) / 35
_EYES = 33, 263  # outer corners, by which MediaPipe turns its crop
_MARGIN = 1.5  # of the crop's side over the landmarks' box, as MediaPipe's graph has it
Run = Callable[[Image], Array]


def network(task: Path) -> Run:
    """Return a call that runs the landmark network of a task file: (256, 256, 3) -> (478, 2) pixels of the crop.

    Raises:
        DataError: not a task file with that network.
    """
    try:
        with zipfile.ZipFile(task) as archive:
            interpreter = Interpreter(model_content=archive.read(NETWORK), num_threads=1)
    except (OSError, KeyError, zipfile.BadZipFile) as e:
        raise DataError(f"{task}: no FaceLandmarker task file ({e})") from e
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out = next(d["index"] for d in interpreter.get_output_details() if np.prod(d["shape"]) == 478 * 3)

    def run(crop: Image) -> Array:
        interpreter.set_tensor(into, (crop / 255).astype(np.float32)[None])
        interpreter.invoke()
        return interpreter.get_tensor(out).reshape(478, 3)[:, :2].astype(np.float64) - 0.5

    return run


def looks(run: Run, picture: Image, about: Array) -> Array:
    """Return the landmarks of six runs (6, 478, 2) on a picture with a face about (478, 2)."""
    mirror = np.array(load_layout(TEACHER).mirror)
    low, high = about.min(0), about.max(0)
    centre, side = (low + high) / 2, _MARGIN * float((high - low).max())
    x, y = about[_EYES[1]] - about[_EYES[0]]
    found = []
    for degrees, factor in LOOKS:
        angle, scale = np.arctan2(y, x) + np.deg2rad(degrees), side * factor / SIZE
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.column_stack([turn, centre - turn @ np.full(2, (SIZE - 1) / 2)])
        flags = (cv2.INTER_AREA if scale > 1.2 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        crop = np.asarray(cv2.warpAffine(_shrunk(picture, scale), _of_shrunk(matrix, scale), (SIZE, SIZE), flags=flags))
        for flipped in (False, True):
            at = run(np.ascontiguousarray(crop[:, ::-1]) if flipped else crop)
            if flipped:
                at = np.column_stack([SIZE - 1 - at[mirror, 0], at[mirror, 1]])
            found.append(at @ turn.T + matrix[:, 2])
    return np.stack(found)


def _shrunk(picture: Image, scale: float) -> Image:
    """Average a picture of which more than a pixel goes into one of the crop's."""
    factor = int(scale)
    if factor < 2:
        return picture
    size = picture.shape[1] // factor, picture.shape[0] // factor
    return np.asarray(cv2.resize(picture[: size[1] * factor, : size[0] * factor], size, interpolation=cv2.INTER_AREA))


def _of_shrunk(matrix: Array, scale: float) -> Array:
    factor = max(1, int(scale))
    moved = matrix.copy()
    moved[:, 2] += 0.5
    moved = moved / factor
    moved[:, 2] -= 0.5
    return moved


def smoothed(landmarks: Array) -> Array:
    """Smooth a track (T, N, 2) over five frames without a lag; the first and last two stay."""
    out = landmarks.copy()
    if len(landmarks) > 4:
        out[2:-2] = sum(w * landmarks[i : len(landmarks) - 4 + i] for i, w in enumerate(SAVITZKY_GOLAY))
    return out


def _pictures(table: Path) -> Iterator[Image]:
    """Yield a set's pictures in the order of its names."""
    with np.load(table) as data, tarfile.open(table.with_suffix(".tar")) as tar:
        files = {Path(m.name).name: m for m in tar.getmembers() if m.isfile()}
        for name in data["names"]:
            file = tar.extractfile(files[str(name)])
            assert file is not None
            decoded = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
            yield np.asarray(decoded, np.uint8)


def label(run: Run, table: Path, out: Path) -> None:
    """Label one set of pictures or one video, whose .npz is `table`."""
    with np.load(table) as data:
        about = data[TEACHER][..., :2].astype(np.float64)
        kept = {name: data[name] for name in ("names", "person") if name in data}
    video = next((p for p in map(table.with_suffix, (".mp4", ".mpg")) if p.exists()), None)
    pictures = (frame.rgb for frame in VideoReader(video)) if video else _pictures(table)
    means, spreads = np.full(about.shape, np.nan), np.full(about.shape[:2], np.nan)
    for i, (picture, at) in enumerate(zip(pictures, about, strict=True)):
        if np.isfinite(at).all():
            runs = looks(run, picture, at)
            means[i] = runs.mean(0)
            spreads[i] = np.sqrt(np.square(runs - means[i]).sum(-1).mean(0))
    means = smoothed(means) if video else means
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as temporary, temporary.open("wb") as file:
        np.savez(file, mediapipe478=means.astype(np.float32), std=spreads.astype(np.float32), **kept)


def main(task: Path, data: Path, out: Path) -> None:
    """Label what is not labelled yet."""
    run = network(task)
    for folder in ("faces", "video"):
        for table in sorted((data / folder).glob("*.npz")):
            target = out / folder / table.name
            if table.stem.endswith("_tta") or target.exists():
                continue
            label(run, table, target)
            typer.echo(f"wrote {target}")


if __name__ == "__main__":
    typer.run(main)
