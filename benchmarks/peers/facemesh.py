"""MediaPipe FaceMesh on given frames: `python -m qlot.benchmarks.peers.facemesh --frames clip.npz --out found.npz`.

The legacy Python solution, as its makers ship it: video mode, one face, default thresholds, its own tracking crops, no
landmark smoothing. It runs in an environment of its own, which the first call makes.
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


def _check_frames(path: Path) -> None:
    try:
        with np.load(path) as stored:
            frames = stored["frames"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise PeerError(f"{path}: needs an .npz with an array `frames`: {e}") from e
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise PeerError(f"{path}: `frames` must be (T, H, W, 3) uint8 RGB, is {frames.shape} {frames.dtype}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; errors a user can cause are one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, required=True, help=".npz with `frames` (T, H, W, 3) uint8 RGB")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    parser.add_argument("--refined", action="store_true", help="478 points with irises in place of 468")
    parser.add_argument("--environment", type=Path, help="folder of MediaPipe's virtual environment")
    options = parser.parse_args(arguments)
    try:
        run_facemesh(options.frames, options.out, options.refined, options.environment)
    except (QlotError, OSError) as e:
        parser.exit(2, f"error: {e}\n")


if __name__ == "__main__":
    main()
