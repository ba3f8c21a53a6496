from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.assets import sample_clip
from qlot.runtime.errors import VideoError
from qlot.runtime.media.video import Image, ImageFolder, VideoReader, upright
from tests.runtime.media.videos import encode

ANGLES = (0, 90, 180, 270)


def picture(index: int = 0, size: tuple[int, int] = (64, 48)) -> Image:
    """Grey, red in the upper left quarter, and a white bar whose place tells the index."""
    width, height = size
    rgb = np.full((height, width, 3), 90, np.uint8)
    rgb[: height // 2, : width // 2] = (200, 30, 30)
    rgb[-24:, 4 * index : 4 * index + 8] = 255
    return rgb


def close(a: Image, b: Image) -> bool:
    return a.shape == b.shape and bool(np.abs(a.astype(int) - b).mean() < 6)


def test_reads_frames_in_order(tmp_path: Path) -> None:
    times = [i / 25 for i in range(10)]
    reader = VideoReader(encode(tmp_path / "a.mp4", map(picture, range(10)), times))
    frames = list(reader)
    assert reader.total == 10 and reader.remarks() == []
    assert [f.index for f in frames] == list(range(10))
    assert [f.timestamp for f in frames] == pytest.approx(times)
    for i, frame in enumerate(frames):
        assert frame.rgb.dtype == np.uint8 and frame.rgb.flags.c_contiguous
        assert close(frame.rgb, picture(i))
    assert not close(frames[0].rgb, picture(9))
    assert [f.timestamp for f in reader] == pytest.approx(times), "a second pass starts at the beginning"


def test_variable_frame_rate_keeps_its_time_stamps(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.05, 0.5, 0.51, 1.9]
    reader = VideoReader(encode(tmp_path / "vfr.mp4", map(picture, range(6)), times))
    assert [f.timestamp for f in reader] == pytest.approx(times, abs=1e-4)
    assert reader.estimated == 0


def test_a_stream_need_not_start_at_zero(tmp_path: Path) -> None:
    times = [2.5 + i / 30 for i in range(5)]
    frames = list(VideoReader(encode(tmp_path / "late.mkv", map(picture, range(5)), times)))
    assert [f.timestamp for f in frames] == pytest.approx(times, abs=1e-3)


def test_frames_without_time_stamps_follow_at_the_nominal_rate(tmp_path: Path) -> None:
    """A raw H.264 stream has none."""
    reader = VideoReader(
        encode(tmp_path / "raw.h264", map(picture, range(6)), [i / 25 for i in range(6)], container="h264")
    )
    frames = list(reader)
    assert len(frames) == 6 and reader.estimated == 6
    assert np.diff([f.timestamp for f in frames]) == pytest.approx(1 / reader.fps)
    assert "6 frames" in reader.remarks()[0]


def test_time_never_stands_still_or_goes_back(tmp_path: Path) -> None:
    """Two recordings joined byte by byte: the second starts at 0 again."""
    path = encode(tmp_path / "a.ts", map(picture, range(10)), [i / 25 for i in range(10)])
    path.write_bytes(path.read_bytes() * 2)
    with av.open(str(path)) as container:
        assert min(np.diff([f.time for f in container.decode(video=0)])) < 0, "the file's own stamps go back"
    reader = VideoReader(path)
    times = [f.timestamp for f in reader]
    assert len(times) == 20 and reader.estimated == 10
    assert np.diff(times) == pytest.approx(1 / 25, abs=1e-3)


@pytest.mark.parametrize("angle", ANGLES)
def test_rotation_metadata_is_applied(tmp_path: Path, angle: int) -> None:
    stored = np.ascontiguousarray(np.rot90(picture(), angle // 90))
    path = encode(tmp_path / "turned.mp4", [stored] * 3, [0, 0.1, 0.2], rotation=angle)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation % 360 == -angle % 360, "the file carries the mark"
    frame = next(iter(VideoReader(path)))
    assert close(frame.rgb, picture())
    assert angle == 0 or not close(stored, picture())


def test_mirroring_metadata_is_applied(tmp_path: Path) -> None:
    one = 1 << 16
    matrix = [-one, 0, 0, 0, one, 0, 64 * one, 0, 1 << 30]
    stored = np.ascontiguousarray(picture()[:, ::-1])
    frame = next(iter(VideoReader(encode(tmp_path / "mirrored.mp4", [stored] * 2, [0, 0.1], matrix=matrix))))
    assert close(frame.rgb, picture())


@pytest.mark.parametrize(
    ("pixel", "size"), [(Fraction(2), (128, 48)), (Fraction(1, 2), (64, 96)), (Fraction(16, 15), (68, 48))]
)
def test_pixels_that_are_not_square_are_stretched(tmp_path: Path, pixel: Fraction, size: tuple[int, int]) -> None:
    reader = VideoReader(encode(tmp_path / "a.mp4", [picture()] * 2, [0, 0.1], pixel=pixel))
    frame = next(iter(reader))
    assert frame.rgb.shape == (size[1], size[0], 3) and f"from 64x48 to {size[0]}x{size[1]}" in reader.remarks()[0]
    assert close(frame.rgb, cv2.resize(picture(), size, interpolation=cv2.INTER_CUBIC))


def test_stretching_comes_before_turning(tmp_path: Path) -> None:
    stored = np.ascontiguousarray(np.rot90(picture()))  # 48 x 64
    reader = VideoReader(encode(tmp_path / "a.mp4", [stored] * 2, [0, 0.1], rotation=90, pixel=Fraction(2)))
    assert next(iter(reader)).rgb.shape == (96, 64, 3)


@pytest.mark.parametrize("pixel", [Fraction(1), Fraction(4319, 4320), Fraction(20)])
def test_pixels_that_are_square_or_absurd_are_left_alone(tmp_path: Path, pixel: Fraction) -> None:
    reader = VideoReader(encode(tmp_path / "a.mp4", [picture()] * 2, [0, 0.1], pixel=pixel))
    assert next(iter(reader)).rgb.shape == (48, 64, 3)
    assert len(reader.remarks()) == (pixel > 8)


def test_an_odd_angle_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "tilted.mp4", [picture()] * 2, [0, 0.1], rotation=30)
    with pytest.raises(VideoError, match="multiples of 90"):
        list(VideoReader(path))


@given(st.sampled_from(ANGLES), st.booleans(), st.integers(1, 4), st.integers(1, 4))
def test_upright_moves_each_pixel_as_the_matrix_says(angle: int, mirror: bool, height: int, width: int) -> None:
    c, s = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[angle]
    matrix = np.array([[c, s], [-s, c]]) @ np.diag([-1, 1] if mirror else [1, 1])
    rgb = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    out = upright(rgb, matrix)
    y, x = np.mgrid[:height, :width]
    x2, y2 = (np.stack([x, y], -1) @ matrix).transpose(2, 0, 1)
    assert np.array_equal(out[y2 - y2.min(), x2 - x2.min()], rgb)


def damaged(path: Path, packets: range, folder: Path, keep: int = 0) -> Path:
    """Overwrite some packets with noise, but for their first bytes; header and index stay whole."""
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data, noise = bytearray(path.read_bytes()), np.random.default_rng(0)
    for position, size in (places[i] for i in packets):
        data[position + keep : position + size] = noise.integers(0, 256, size - keep, dtype=np.uint8).tobytes()
    broken = folder / "broken.mp4"
    broken.write_bytes(data)
    return broken


def test_a_sound_file_has_nothing_broken() -> None:
    whole = VideoReader(sample_clip())
    assert sum(1 for _ in whole) == 250 and whole.broken == 0


def test_decoding_goes_on_after_damage(tmp_path: Path) -> None:
    times = [i / 25 for i in range(40)]
    whole = encode(tmp_path / "a.mp4", (picture(i % 15) for i in range(40)), times, group=10)
    reader = VideoReader(damaged(whole, range(12, 15), tmp_path))
    frames = list(reader)
    assert reader.broken >= 1 and f"{reader.broken} broken" in reader.remarks()[0]
    assert 20 <= len(frames) < 40
    assert [f.index for f in frames] == list(range(len(frames)))
    last = {round(f.timestamp * 25): f.rgb for f in frames}
    for i in range(20, 40):  # from the next key frame on all is well, and in its place in time
        assert close(last[i], picture(i % 15))


def test_frames_marked_as_corrupt_are_not_delivered(tmp_path: Path) -> None:
    """Here the decoder patches up what it can and says so."""
    path = damaged(sample_clip(), range(100, 103), tmp_path, keep=8)
    corrupt, errors = set(), 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                corrupt |= {f.time for f in packet.decode() if f.is_corrupt}
            except av.InvalidDataError:
                errors += 1
    reader = VideoReader(path)
    assert corrupt and not corrupt & {f.timestamp for f in reader}
    assert reader.broken == len(corrupt) + errors


def test_a_file_cut_short_yields_what_is_there(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.ts", map(picture, range(15)), [i / 25 for i in range(15)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert 1 <= sum(1 for _ in VideoReader(path)) < 15


def test_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", map(picture, range(5)), [i / 25 for i in range(5)])
    with pytest.raises(VideoError, match="not one frame"):
        list(VideoReader(damaged(path, range(5), tmp_path)))


@pytest.mark.parametrize("content", [b"", b"not a video " * 100, np.random.default_rng(1).bytes(5000)])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"x\.mp4 cannot be opened as a video"):
        VideoReader(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nowhere\.mp4 cannot be opened as a video: No such file"):
        VideoReader(tmp_path / "nowhere.mp4")


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="no video stream"):
        VideoReader(path)


def save(path: Path, rgb: Image) -> None:
    assert cv2.imwrite(str(path), rgb[..., ::-1])


def test_image_folder_counts_numbers_by_value(tmp_path: Path) -> None:
    for i in (10, 9, 2):
        save(tmp_path / f"frame{i}.png", picture(i))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    folder = ImageFolder(tmp_path)
    frames = list(folder)
    assert folder.total == 3 and "30 frames/s assumed" in folder.remarks()[0]
    assert [np.array_equal(f.rgb, picture(i)) for f, i in zip(frames, (2, 9, 10), strict=True)] == [True] * 3
    assert [f.timestamp for f in frames] == pytest.approx([0, 1 / 30, 2 / 30])


def test_image_folder_skips_broken_files_in_their_place(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(0))
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8 broken")
    (tmp_path / "c.png").write_bytes(b"")
    save(tmp_path / "d.jpg", picture(1))
    folder = ImageFolder(tmp_path)
    frames = list(folder)
    assert [(f.index, round(f.timestamp * 30)) for f in frames] == [(0, 0), (1, 3)]
    assert folder.broken == 2 and "2 images" in folder.remarks()[1]


def test_image_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="holds no images"):
        ImageFolder(tmp_path)
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(VideoError, match="none of the 1 images"):
        list(ImageFolder(tmp_path))
