"""A peer's landmarks on a clip, from the peer benchmark, which runs it as a program of its own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlot.benchmarks.jitter.clips import RenderedClip
from qlot.runtime.partial import written_whole
from qlot.training.data.clip import Array, DataError

MODULE = "qlot.benchmarks.peers.facemesh"


@dataclass(frozen=True, eq=False)
class PeerTrack:
    """What a peer says of a clip."""

    landmarks: Array  # (T, 468 or 478, 2) pixels, centres at integers; NaN without a face
    milliseconds: Array  # (T,) of each frame, as its package runs it, when these landmarks were found
    version: str


def peer_track(clip: RenderedClip, folder: Path, options: Sequence[str] = ()) -> PeerTrack:
    """Return a peer's landmarks, from `folder` if they were found on the same frames before.

    Args:
        clip: the clip.
        folder: where predictions are kept.
        options: further arguments of the peer's command.

    Raises:
        DataError: the peer fails; the message ends with its own.
    """
    frames = np.stack(list(clip.frames))
    seen = hashlib.sha256(frames.tobytes()).hexdigest()
    path = folder / f"{clip.name}.npz"
    if (known := _read(path, seen)) is not None:
        return known
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        source, found = Path(temporary) / "frames.npz", Path(temporary) / "found.npz"
        np.savez(source, frames=frames, fps=1 / (clip.times[1] - clip.times[0]))
        command = [sys.executable, "-m", MODULE, "--frames", str(source), "--out", str(found), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise DataError(f"the peer on {clip.name}: {lines[-1].removeprefix('error: ')}")
        with np.load(found) as stored, written_whole(path) as partial, partial.open("wb") as file:
            np.savez(file, frames=seen, **{key: stored[key] for key in ("landmarks", "milliseconds", "version")})
    track = _read(path, seen)
    if track is None or len(track.landmarks) != len(clip.times):
        raise DataError(f"{path}: the peer's landmarks do not belong to {clip.name}; delete the file and run again")
    return track


def _read(path: Path, seen: str) -> PeerTrack | None:
    if not path.exists():
        return None
    try:
        with np.load(path) as stored:
            if str(stored["frames"]) != seen or "milliseconds" not in stored:  # of an older version
                return None
            return PeerTrack(stored["landmarks"], stored["milliseconds"], str(stored["version"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise DataError(f"{path}: not readable ({e}); delete it and run again") from e
