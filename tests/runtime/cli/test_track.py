"""`qlot track` on real videos with a small untrained bundle: what is written, refused and said."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from qlot.assets import sample_clip
from qlot.runtime.media.video import VideoReader
from qlot.runtime.media.video_writer import VideoWriter
from tests.runtime.cli.running import FACES, TABLE_ALONE, clip, numbers, qlot, rows, scene


def test_track_writes_video_table_and_summary(
    bundle: Path, video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(video.parent)
    assert qlot("track", video.name, "--bundle", bundle) == 0
    out = Path("clip-tracked")
    assert sorted(p.name for p in out.iterdir()) == FACES
    times = [f.timestamp for f in VideoReader(video)]
    written = list(VideoReader(out / "tracked.mp4"))
    assert [f.timestamp for f in written] == pytest.approx(times, abs=1e-4), "the frame rate stays variable"
    assert written[0].rgb.shape == (96, 128, 3)
    assert [float(r["timestamp"]) for r in rows(out)] == times
    assert {r["status"] for r in rows(out)} >= {"tracking"}
    assert cv2.imread(str(out / "summary.png")) is not None
    said = capsys.readouterr()
    for word in (
        "frames",
        "tracked",
        "losses",
        "median extractor",
        "median total",
        "onnxruntime",
        "wrote clip-tracked/summary.png\n",
    ):
        assert word in said.out
    assert said.err == ""


def test_existing_output_is_refused_without_force(
    bundle: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert qlot("track", video, "-b", bundle, "-o", out, "--format", "jsonl") == 0
    (out / "mine.txt").write_text("keep")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    capsys.readouterr()
    assert qlot("track", video, "-b", bundle, "-o", out) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and "--force" in said.err and said.err.count("\n") == 1 and said.out == ""
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before

    assert qlot("track", video, "-b", bundle, "-o", out, "--force", "--no-video") == 0
    after = {p.name: p.read_bytes() for p in out.iterdir()}
    assert sorted(after) == ["landmarks.csv", "mine.txt", "summary.png"], "no file of the earlier run is left"
    assert after["mine.txt"] == b"keep"


def test_a_video_without_a_face(blind: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert qlot("track", video, "-b", blind, "-o", out) == 0
    assert "no face was found in any frame" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == FACES
    assert {r["status"] for r in rows(out)} == {"searching"} and np.isnan(numbers(out, "_x")).all()
    assert len(list(VideoReader(out / "tracked.mp4"))) == 12


def test_losses_are_counted(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The untrained network drifts off and is lost again and again."""
    out = tmp_path / "out"
    assert qlot("track", sample_clip(), "-b", bundle, "-o", out, *TABLE_ALONE, "--seconds", 6) == 0
    said = capsys.readouterr().out.split()
    statuses = [r["status"] for r in rows(out)]
    losses = sum(a == "tracking" and b == "lost" for a, b in pairwise(statuses))
    assert losses > 0 and said[said.index("losses") + 1] == str(losses)
    assert said[said.index("tracked") + 1] == str(statuses.count("tracking"))


def test_a_filter_starts_anew_after_a_pause(bundle: Path, tmp_path: Path) -> None:
    video = clip(tmp_path / "a.mp4", [0.0, 0.04, 0.08, 1.2, 1.24])
    for name, options in {"plain": [], "smooth": ["--filter", "one-euro"]}.items():
        assert qlot("track", video, "-b", bundle, "-o", tmp_path / name, *TABLE_ALONE, *options) == 0
    off = np.abs(numbers(tmp_path / "plain", "_x", "_y") - numbers(tmp_path / "smooth", "_x", "_y")).max(axis=1)
    assert off[[0, 3]] == pytest.approx(0, abs=1e-2), "the tracker starts anew with frame 3"
    assert (off[[1, 2, 4]] > 0.02).all()


def test_landmarks_are_kept_steady_as_the_bundle_says_and_raw_on_demand(bundle: Path, tmp_path: Path) -> None:
    steady = tmp_path / "steady"
    shutil.copytree(bundle, steady)
    manifest = json.loads((steady / "manifest.json").read_text())
    manifest["steady"] = {"unit": 5.0}
    (steady / "manifest.json").write_text(json.dumps(manifest))
    video = clip(tmp_path / "a.mp4", [0.04 * i for i in range(5)])
    ways = {"before": (bundle, []), "kept": (steady, []), "raw": (steady, ["--raw"])}
    for name, (folder, options) in ways.items():
        assert qlot("track", video, "-b", folder, "-o", tmp_path / name, *TABLE_ALONE, *options) == 0
    before, kept, raw = (numbers(tmp_path / name, "_x", "_y") for name in ways)
    np.testing.assert_array_equal(before, raw)
    assert kept[0] == pytest.approx(raw[0]) and np.abs(kept[1:] - raw[1:]).max() > 0.02


@pytest.mark.parametrize("content", [b"", b"not a video " * 50])
def test_what_is_no_video_leaves_nothing(
    bundle: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    assert qlot("track", tmp_path / "x.mp4", "-b", bundle, "-o", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "cannot be opened as a video" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_input_folder_is_no_output_folder(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cv2.imwrite(str(tmp_path / "0.png"), scene(0))
    assert qlot("track", tmp_path, "-b", bundle, "-o", tmp_path, "--force") == 2
    assert "is the input folder" in capsys.readouterr().err


def test_a_camera_that_is_not_there(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qlot("track", "97", "-b", bundle, "-o", tmp_path / "out") == 2
    assert "camera 97 cannot be opened" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made(
    bundle: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert qlot("track", video, "-b", bundle, "-o", tmp_path / "file" / "out") == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'file' / 'out'}: Not a directory\n"
    assert qlot("track", video, "-b", bundle, "-o", tmp_path / "file") == 2
    assert "is not a folder" in capsys.readouterr().err


def test_rotation(bundle: Path, tmp_path: Path) -> None:
    """Turned frames with --rotation give the same landmarks, in the turned frame's pixels."""
    times = [i / 25 for i in range(8)]
    assert qlot("track", clip(tmp_path / "a.mp4", times), "-b", bundle, "-o", tmp_path / "a", *TABLE_ALONE) == 0
    turned = clip(tmp_path / "b.mp4", times, turns=1)  # stored counter-clockwise
    assert qlot("track", turned, "-b", bundle, "-o", tmp_path / "b", "--rotation", 90, *TABLE_ALONE) == 0
    x, y = numbers(tmp_path / "a", "_x"), numbers(tmp_path / "a", "_y")
    # Encoding differs a little between the two files, so the landmarks do.
    assert numbers(tmp_path / "b", "_x") == pytest.approx(y, abs=1.5)
    assert numbers(tmp_path / "b", "_y") == pytest.approx(127 - x, abs=1.5)
    assert not np.allclose(numbers(tmp_path / "b", "_x"), x, atol=1.5)


def test_options_reach_the_tracker(bundle: Path, video: Path, tmp_path: Path) -> None:
    found = {}
    for name, options in {
        "plain": [], "filter": ["--filter", "one-euro", "--threads", 2], "steps": ["--iterations", 3],
        "gate": ["--gate-radius", 0], "cutoff": ["--gate-cutoff", 0.7], "mirrored": ["--mirrored"],
    }.items():  # fmt: skip
        assert qlot("track", video, "-b", bundle, "-o", tmp_path / name, *TABLE_ALONE, *options) == 0
        found[name] = numbers(tmp_path / name, "_x", "_y")
    for name in ("filter", "steps", "gate", "cutoff", "mirrored"):
        assert np.abs(found[name] - found["plain"]).max() > 0.1, name
    spreads = [numbers(tmp_path / name, "_sxx", "_sxy", "_syy") for name in ("plain", "filter")]
    assert spreads[0] == pytest.approx(spreads[1], rel=1e-3)
    assert found["filter"][0] == pytest.approx(found["plain"][0], abs=1e-2), "a filter begins at the landmarks"


def test_seconds(bundle: Path, video: Path, tmp_path: Path) -> None:
    assert qlot("track", video, "-b", bundle, "-o", tmp_path / "out", "--seconds", 0.3, "--no-summary") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["landmarks.csv", "tracked.mp4"]
    assert [float(r["timestamp"]) for r in rows(tmp_path / "out")] == pytest.approx([0.0, 0.04, 0.05, 0.12, 0.15, 0.2])
    assert len(list(VideoReader(tmp_path / "out" / "tracked.mp4"))) == 6


@pytest.mark.parametrize(
    "options",
    [
        ["--rotation", 45], ["--gate-radius", -1], ["--gate-radius", "nan"], ["--gate-cutoff", 1], ["--seconds", 0],
        ["--seconds", "nan"], ["--iterations", 0], ["--filter", "median"], ["--format", "xml"], ["--threads", 0],
    ],
)  # fmt: skip
def test_wrong_options(bundle: Path, video: Path, tmp_path: Path, options: list[object]) -> None:
    assert qlot("track", video, "-b", bundle, "-o", tmp_path / "out", *options) == 2
    assert not (tmp_path / "out").exists()


COMMAND = [sys.executable, "-c", "from qlot.cli.main import run; run()"]


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("long") / "long.mp4", [i / 30 for i in range(1500)])


def wait_for(path: Path, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert child.poll() is None and time.monotonic() < deadline, "it ended before it began to write"
        time.sleep(0.02)
    time.sleep(0.3)


def assert_finished(out: Path) -> None:
    assert sorted(p.name for p in out.iterdir()) == FACES
    count = len(rows(out))
    assert 0 < count < 1500
    assert sum(1 for _ in VideoReader(out / "tracked.mp4")) == count


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_finishes_the_files_and_says_so(
    bundle: Path, long_video: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out"
    child = subprocess.Popen(
        [*COMMAND, "track", str(long_video), "-b", str(bundle), "-o", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(out / ".tracked.mp4.partial", child)
    child.send_signal(number)
    said, errors = child.communicate(timeout=60)
    assert child.returncode == code, errors
    assert b"tracked.mp4" in said and b"Traceback" not in errors
    count = len(rows(out))
    last = float(rows(out)[-1]["timestamp"])
    assert said.decode().endswith(f"stopped at {last:.2f} s, after {count} frames\n")
    assert_finished(out)


def test_q_stops_a_live_source_and_restores_the_terminal(bundle: Path, long_video: Path, tmp_path: Path) -> None:
    """OpenCV opens the file in place of a network camera: the code behind it is that of any live source."""
    out = tmp_path / "out"
    command = [*COMMAND, "track", f"file://{long_video}", "-b", str(bundle), "-o", str(out)]
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    own = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    child = subprocess.Popen(
        [sys.executable, "-c", own, *command], stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    wait_for(out / ".tracked.mp4.partial", child)
    assert not termios.tcgetattr(slave)[3] & termios.ECHO
    os.write(master, b"q")
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert b"press q to stop" in errors
    assert termios.tcgetattr(slave) == before
    assert_finished(out)
    os.close(master)
    os.close(slave)


def test_a_real_face(bundle_fp32: Path, tmp_path: Path) -> None:
    """The man of the sample clip sits still in its first second; his face fills about (140..270, 130..240)."""
    out = tmp_path / "out"
    assert qlot("track", sample_clip(), "-b", bundle_fp32, "-o", out, *TABLE_ALONE, "--seconds", 1) == 0
    x, y = numbers(out, "_x"), numbers(out, "_y")
    assert np.isfinite(x[5:]).all(), "found within five frames and not lost"
    assert 140 < x[-1].min() < x[-1].max() < 270 and 130 < y[-1].min() < y[-1].max() < 245
    assert 80 < np.sqrt(np.ptp(x[-1]) * np.ptp(y[-1])) < 120


def test_real_frames_without_a_face(bundle_fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The wall beside him."""
    with VideoWriter(tmp_path / "wall.mp4") as writer:
        for frame in VideoReader(sample_clip()):
            if frame.timestamp < 0.2:
                writer.write(frame.rgb[:, 280:], frame.timestamp)
    assert qlot("track", tmp_path / "wall.mp4", "-b", bundle_fp32, "-o", tmp_path / "out", *TABLE_ALONE) == 0
    said = capsys.readouterr().out
    assert "no face was found in any frame" in said and "turned" not in said
    assert len(rows(tmp_path / "out")) == 5


def test_progress_without_a_terminal(
    bundle: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qlot.runtime.cli.track.EVERY", 0.0)
    assert qlot("track", video, "-b", bundle, "-o", tmp_path / "out", *TABLE_ALONE) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == [f"tracking: {i} of 12 frames" for i in range(12)]
