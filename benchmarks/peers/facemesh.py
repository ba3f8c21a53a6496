"""MediaPipe on given frames: `python -m qlot.benchmarks.peers.facemesh --frames clip.npz --out found.npz`.

FaceMesh is the legacy Python solution, as its makers ship it: video mode, one face, default thresholds, its own
tracking crops, no landmark smoothing. `--landmarker face_landmarker.task` runs what a user gets today in its place:
FaceLandmarker of MediaPipe Tasks in VIDEO mode at its defaults, smoothing included. Both run in an environment of their
own, which the first call makes.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qlot.benchmarks.peers.environment import PeerError, prepare, run_script
from qlot.runtime.errors import QlotError
from qlot.runtime.partial import written_whole

WORKER = Path(__file__).with_name("facemesh_worker.py")
LANDMARKER_WORKER = Path(__file__).with_name("landmarker_worker.py")


def run_facemesh(frames: Path, out: Path, refined: bool = False, environment: Path | None = None) -> None:
    """Write an .npz with `landmarks` (T, 468 or 478, 2) in pixels, centres at integers, and MediaPipe's `version`.

    Frames in which it finds no face are NaN.

    Args:
        frames: an .npz with `frames` (T, H, W, 3) uint8 RGB, consecutive.
        out: the file to write.
        refined: 478 points with irises, by the network with attention, in place of 468.
        environment: folder of the virtual environment; None for the default.

    Raises:
        PeerError: the frames are unusable, or MediaPipe cannot be installed or run.
    """
    _check_frames(frames)
    place = prepare(environment)
    with written_whole(out) as temporary:
        run_script(place, WORKER, [str(frames), str(temporary), "refined" if refined else "plain"])


def run_landmarker(
    frames: Path, out: Path, model: Path, environment: Path | None = None, *, pictures: bool = False
) -> None:
    """Write an .npz as `run_facemesh` does, of FaceLandmarker's (T, 478, 2).

    Args:
        frames: an .npz with `frames` (T, H, W, 3) uint8 RGB, consecutive, and `fps`.
        out: the file to write.
        model: face_landmarker.task.
        environment: folder of the virtual environment; None for the default.
        pictures: the frames do not follow each other.

    Raises:
        PeerError: the frames or the model are unusable, or MediaPipe cannot be installed or run.
    """
    _check_frames(frames, "fps")
    if not model.is_file():
        raise PeerError(f"no model {model}: fetch MediaPipe's face_landmarker.task")
    place = prepare(environment)
    with written_whole(out) as temporary:
        run_script(
            place, LANDMARKER_WORKER, [str(frames), str(temporary), str(model), "IMAGE" if pictures else "VIDEO"]
        )


def _check_frames(path: Path, *others: str) -> None:
    try:
        with np.load(path) as stored:
            frames, *_ = [stored[name] for name in ("frames", *others)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise PeerError(f"{path}: needs an .npz with an array `{'`, `'.join(('frames', *others))}`: {e}") from e
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise PeerError(f"{path}: `frames` must be (T, H, W, 3) uint8 RGB, is {frames.shape} {frames.dtype}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; errors a user can cause are one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, required=True, help=".npz with `frames` (T, H, W, 3) uint8 RGB")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    parser.add_argument("--refined", action="store_true", help="478 points with irises in place of 468")
    parser.add_argument("--landmarker", type=Path, metavar="TASK", help="run FaceLandmarker with this model instead")
    parser.add_argument("--environment", type=Path, help="folder of MediaPipe's virtual environment")
    options = parser.parse_args(arguments)
    try:
        if options.landmarker:
            run_landmarker(options.frames, options.out, options.landmarker, options.environment)
        else:
            run_facemesh(options.frames, options.out, options.refined, options.environment)
    except (QlotError, OSError) as e:
        parser.exit(2, f"error: {e}\n")


if __name__ == "__main__":
    main()
