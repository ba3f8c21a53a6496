"""What is done with the peer's answers; the peer itself is tested in tests/benchmarks."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qlot.benchmarks.jitter import peer
from qlot.benchmarks.jitter.clips import RenderedClip
from qlot.training.data.clip import DataError
from tests.benchmarks.jitter.made import made_clip, small_protocol

PROTOCOL = small_protocol()


class FakePeer:
    """Stands in for the program: writes numbers that depend on the frames, and counts its runs."""

    def __init__(self, code: int = 0, short: int = 0) -> None:
        self.runs, self.code, self.short = 0, code, short

    def __call__(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        self.runs += 1
        if not self.code:
            source, out = (command[command.index(flag) + 1] for flag in ("--frames", "--out"))
            with np.load(source) as stored:
                mean = stored["frames"].mean((1, 2, 3))
            landmarks = np.zeros((len(mean) - self.short, 468, 2)) + mean[: len(mean) - self.short, None, None]
            np.savez(out, landmarks=landmarks, milliseconds=np.ones(len(mean)), version="made-up 1")
        return subprocess.CompletedProcess(command, self.code, "", "a warning\nerror: no such wheel\n")


def clip(level: int = 50) -> RenderedClip:
    made = made_clip(PROTOCOL.motions[0], PROTOCOL)
    return replace(made, frames=[np.full((8, 8, 3), level, np.uint8)] * len(made.times))


def test_the_same_frames_are_not_looked_at_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakePeer()
    monkeypatch.setattr(subprocess, "run", fake)
    first, again = peer.peer_track(clip(), tmp_path / "found"), peer.peer_track(clip(), tmp_path / "found")
    assert fake.runs == 1 and again.version == "made-up 1"
    np.testing.assert_array_equal(first.landmarks, again.landmarks)
    np.testing.assert_array_equal(again.milliseconds, 1)
    other = peer.peer_track(clip(60), tmp_path / "found")
    assert fake.runs == 2 and other.landmarks[0, 0, 0] == 60


def test_the_peers_own_words_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", FakePeer(code=2))
    with pytest.raises(DataError, match="face5-still: no such wheel"):
        peer.peer_track(clip(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_too_few_answers_and_a_damaged_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", FakePeer(short=1))
    with pytest.raises(DataError, match="do not belong"):
        peer.peer_track(clip(), tmp_path)
    (tmp_path / "face5-still.npz").write_bytes(b"cut off")
    with pytest.raises(DataError, match="delete it and run again"):
        peer.peer_track(clip(), tmp_path)
