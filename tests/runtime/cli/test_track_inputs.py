"""`qlot track` on inputs of every kind: nothing that was tracked is lost, and what was fitted is said."""

from __future__ import annotations

import itertools
import json
import shutil
import warnings
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from qlot.assets import sample_clip
from qlot.runtime.errors import SessionError
from qlot.runtime.media.video import VideoReader
from qlot.runtime.media.video_writer import VideoWriter
from qlot.runtime.network.bundle_network import BundleNetwork
from tests.runtime.cli.running import FACES, TABLE_ALONE, first_frame, numbers, qlot, rows, scene
from tests.runtime.media.videos import encode


def test_a_damaged_video_is_tracked_and_reported(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.mp4"
    with av.open(str(sample_clip())) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size][20:23]
    data = bytearray(sample_clip().read_bytes())
    for position, size in places:
        data[position + 4 : position + size] = np.random.default_rng(0).bytes(size - 4)
    damaged.write_bytes(data)
    out = tmp_path / "out"
    assert qlot("track", damaged, "-b", bundle, "-o", out, *TABLE_ALONE, "--seconds", 3) == 0
    assert "broken packets or frames were skipped" in capsys.readouterr().out
    assert 40 < len(rows(out)) < 75


def test_pictures_of_mixed_sizes(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i, size in enumerate([(96, 128), (4, 4), (200, 100), (96, 128)]):
        assert cv2.imwrite(str(images / f"{i}.png"), scene(i, *size))
    (images / "5.png").mkdir()  # cannot be read
    out = tmp_path / "out"
    assert qlot("track", images, "-b", bundle, "-o", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "tracked.mp4: 1 frames of another size were scaled into the first one's 128x96" in said
    assert "1 frames below 8 x 8 pixels were skipped" in said and "1 images could not be decoded" in said
    assert [row["frame"] for row in rows(out)] == ["0", "2", "3"]
    assert [f.rgb.shape for f in VideoReader(out / "tracked.mp4")] == [(96, 128, 3)] * 3
    assert np.isfinite(numbers(out, "_x")).all(), "positions are pixels of each picture's own"


def test_a_folder_as_json_lines(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(3):
        assert cv2.imwrite(str(images / f"{i}.png"), scene(i))
    out = tmp_path / "out"
    assert qlot("track", images, "-b", bundle, "-o", out, *TABLE_ALONE, "--format", "jsonl") == 0
    assert "30 frames/s assumed" in capsys.readouterr().out
    lines = [json.loads(line) for line in (out / "landmarks.jsonl").read_text().splitlines()]
    assert [line["timestamp"] for line in lines] == pytest.approx([0, 1 / 30, 2 / 30])
    assert set(lines[0]["landmarks"]) == {"left", "right", "nose", "mouth", "chin"}


def test_one_picture_is_enough(bundle_fp32: Path, tmp_path: Path) -> None:
    """The face is found in the very frame that shows it, though the scan comes to it late."""
    images = tmp_path / "images"
    images.mkdir()
    assert cv2.imwrite(str(images / "0.png"), first_frame()[..., ::-1])
    assert qlot("track", images, "-b", bundle_fp32, "-o", tmp_path / "out") == 0
    assert [r["status"] for r in rows(tmp_path / "out")] == ["tracking"]


@pytest.mark.parametrize("turn", [90, pytest.param(180, marks=pytest.mark.slow)])
def test_a_turned_face_gets_a_hint(
    bundle_fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], turn: int
) -> None:
    with VideoWriter(tmp_path / "turned.mp4") as writer:
        writer.write(np.rot90(first_frame(), turn // 90).copy(), 0.0)  # stored counter-clockwise
    command = ("track", tmp_path / "turned.mp4", "-b", bundle_fp32, *TABLE_ALONE, "--force", "-o", tmp_path / "out")
    assert qlot(*command) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"note: turned by {turn} degrees, 1 of 1 frames show a face: try --rotation {turn}" in said
    assert qlot(*command, "--rotation", turn) == 0
    assert [r["status"] for r in rows(tmp_path / "out")] == ["tracking"]
    assert "turned by" not in capsys.readouterr().out


def test_frames_a_second_apart(bundle_fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [f.rgb for f in itertools.islice(VideoReader(sample_clip()), 0, 120, 12)]
    with VideoWriter(tmp_path / "slow.mp4") as writer:
        for i, rgb in enumerate(frames):
            writer.write(rgb, float(i))
    out = tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert qlot("track", tmp_path / "slow.mp4", "-b", bundle_fp32, "-o", out, *TABLE_ALONE) == 0
    assert [r["status"] for r in rows(out)] == ["tracking"] * 10
    assert "9 of 10 frames came more than 0.5 s after the one before" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["a$^$b[red].mp4", "\udcff\n视.mp4"], ids=ascii)
def test_whatever_the_file_is_called(
    bundle: Path,
    video: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(video, tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert qlot("track", name, "-b", bundle, "--seconds", 0.1) == 0
    assert sorted(p.name for p in (tmp_path / f"{Path(name).stem}-tracked").iterdir()) == FACES
    assert capsys.readouterr().err == ""


def test_a_source_that_breaks_off_keeps_what_was_tracked(
    bundle: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine fails in the middle of the run."""
    real, calls = BundleNetwork.extract, itertools.count()

    def failing(network: BundleNetwork, image: np.ndarray) -> object:
        if next(calls) == 6:
            raise SessionError("the engine ran out of memory.")
        return real(network, image)

    monkeypatch.setattr(BundleNetwork, "extract", failing)
    out = tmp_path / "out"
    assert qlot("track", video, "-b", bundle, "-o", out) == 2
    said = capsys.readouterr()
    count = len(rows(out))
    assert 0 < count < 12 and sum(1 for _ in VideoReader(out / "tracked.mp4")) == count
    last = float(rows(out)[-1]["timestamp"])
    wanted = f"error: the engine ran out of memory. The frames until {last:g} s are tracked and written.\n"
    assert said.err == wanted and sorted(p.name for p in out.iterdir()) == FACES


def test_a_clock_that_wraps(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A transport stream counts 33 bits of 1/90000 s. FFmpeg takes what comes before their end as negative."""
    start = 2**33 / 90_000 - 0.2
    video = encode(tmp_path / "wraps.ts", [scene(i) for i in range(10)], [start + i / 25 for i in range(10)])
    out = tmp_path / "out"
    assert qlot("track", video, "-b", bundle, "-o", out) == 0
    assert [float(r["timestamp"]) for r in rows(out)] == pytest.approx([i / 25 - 0.2 for i in range(10)], abs=1e-3)
    shown = [f.timestamp for f in VideoReader(out / "tracked.mp4")]
    assert shown == pytest.approx([i / 25 for i in range(10)], abs=1e-3)
    said = " ".join(capsys.readouterr().out.split())
    assert "tracked.mp4 starts at 0: the input starts 0.2 s before it" in said


def test_a_size_that_changes_in_mid_stream(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two transport streams joined byte by byte, as broadcasts are."""
    parts = [
        encode(tmp_path / f"{i}.ts", [scene(k, *size) for k in range(5)], [(5 * i + k) / 25 for k in range(5)])
        for i, size in enumerate([(96, 128), (160, 120)])
    ]
    video = tmp_path / "joined.ts"
    video.write_bytes(b"".join(part.read_bytes() for part in parts))
    out = tmp_path / "out"
    assert qlot("track", video, "-b", bundle, "-o", out) == 0
    assert len(rows(out)) == 10 and np.isfinite(numbers(out, "_x")).all()
    assert [f.rgb.shape for f in VideoReader(out / "tracked.mp4")] == [(96, 128, 3)] * 10
    said = " ".join(capsys.readouterr().out.split())
    assert "tracked.mp4: 5 frames of another size were scaled into the first one's 128x96" in said


def test_pixels_that_are_not_square(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures, times = [scene(i) for i in range(4)], [i / 25 for i in range(4)]
    narrow = [cv2.resize(p, None, fx=0.5, fy=1, interpolation=cv2.INTER_AREA) for p in pictures]
    plain, squeezed = tmp_path / "plain", tmp_path / "squeezed"
    assert qlot("track", encode(tmp_path / "a.mp4", pictures, times), "-b", bundle, "-o", plain) == 0
    video = encode(tmp_path / "b.mp4", narrow, times, pixel=Fraction(2))
    assert qlot("track", video, "-b", bundle, "-o", squeezed) == 0
    assert "frames were stretched from 64x96 to 128x96" in " ".join(capsys.readouterr().out.split())
    assert numbers(squeezed, "_x", "_y") == pytest.approx(numbers(plain, "_x", "_y"), abs=1.0)
    shown = VideoReader(squeezed / "tracked.mp4")
    assert next(iter(shown)).rgb.shape == (96, 128, 3) and shown.remarks() == []
