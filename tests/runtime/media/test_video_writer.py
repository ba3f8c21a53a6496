from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlot.runtime.errors import VideoError
from qlot.runtime.media.video_writer import VideoWriter


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3 % 256, y * 4 % 256, np.full_like(x, 20 * index % 256)], -1).astype(np.uint8)


def read(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.time for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
def test_pixels_and_irregular_time_stamps_survive(tmp_path: Path, encoder: str) -> None:
    times = [0.5, 0.54, 0.55, 1.0, 1.01, 2.4]
    with VideoWriter(tmp_path / "a.mp4", (encoder,)) as writer:
        for i, time in enumerate(times):
            writer.write(picture(i), time)
    assert writer.encoder == encoder and writer.remarks() == [] and writer.frames == 6
    found, images = read(tmp_path / "a.mp4")
    assert found == pytest.approx(times, abs=1 / 60_000)
    for i, image in enumerate(images):
        assert np.abs(image.astype(int) - picture(i)).mean() < 8
    with av.open(str(tmp_path / "a.mp4")) as container:
        video = container.streams.video[0]
        shown = float(video.duration * video.time_base)
    assert shown == pytest.approx(2.4 - 0.5 + 1.39, abs=0.01), "the last frame lasts as long as the one before"


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(gaps=st.lists(st.integers(1, 200_000), min_size=1, max_size=8))
def test_any_increasing_time_stamps_survive(tmp_path: Path, gaps: list[int]) -> None:
    times = (np.cumsum(gaps) - gaps[0]) / 60_000
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for i, time in enumerate(times):
            writer.write(picture(i), float(time))
    assert read(tmp_path / "a.mp4")[0] == pytest.approx(list(times), abs=1e-6)


def test_h264_is_playable_everywhere(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for i in range(10):
            writer.write(picture(i), i / 25)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 25 and container.duration == 400_000


@pytest.mark.parametrize("shape", [(47, 64), (48, 63), (47, 63)])
def test_odd_sizes_are_padded_right_and_below(tmp_path: Path, shape: tuple[int, int]) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(picture(1, *shape), 0)
    image = read(tmp_path / "a.mp4")[1][0]
    assert image.shape == (48, 64, 3)
    padding = [(0, 48 - shape[0]), (0, 64 - shape[1]), (0, 0)]
    assert (
        np.abs(image.astype(int) - np.pad(picture(1, *shape), padding, mode="edge")).max(axis=2).mean(axis=1).max() < 25
    )


def test_falls_back_to_mpeg4_and_says_so(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", ("an_encoder_nobody_has", "mpeg4")) as writer:
        writer.write(picture(0), 0)
    assert writer.remarks() == ["a.mp4: no an_encoder_nobody_has here, encoded with mpeg4"]
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"


def test_no_encoder_at_all(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="none of the encoders"):
        VideoWriter(tmp_path / "a.mp4", ("an_encoder_nobody_has",))


def test_nothing_under_the_name_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"earlier")
    with VideoWriter(path) as writer:
        writer.write(picture(0), 0)
        assert path.read_bytes() == b"earlier"
    assert len(read(path)[0]) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="elsewhere"), VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(picture(0), 0)
        raise RuntimeError("elsewhere")
    assert list(tmp_path.iterdir()) == []


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", [-0.4, -1e-5, -95443.7])
def test_a_start_before_time_0_is_moved_to_0(tmp_path: Path, start: float) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for i in range(4):
            writer.write(picture(i), start + i / 25)
    assert read(tmp_path / "a.mp4")[0] == pytest.approx([0, 0.04, 0.08, 0.12], abs=1e-4)
    assert writer.remarks() == [f"a.mp4 starts at 0: the input starts {-start:g} s before it"]


@pytest.mark.parametrize("shape", [(96, 64), (24, 32), (48, 200), (20, 100), (47, 63)])
def test_a_frame_of_another_size_is_fitted_into_the_first(tmp_path: Path, shape: tuple[int, int]) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(picture(0), 0.0)
        writer.write(np.full((*shape, 3), 200, np.uint8), 0.1)
    assert writer.remarks() == ["a.mp4: 1 frames of another size were scaled into the first one's 64x48"]
    bright = (read(tmp_path / "a.mp4")[1][1].mean(-1) > 100).astype(float)
    scale = min(48 / shape[0], 64 / shape[1])
    assert bright.sum() == pytest.approx(shape[0] * shape[1] * scale**2, rel=0.15), "all of it, its proportions kept"
    for axis, length in enumerate((48, 64)):
        place = (bright.sum(1 - axis) * np.arange(length)).sum() / bright.sum()
        assert place == pytest.approx((length - 1) / 2, abs=1), "in the middle"


@pytest.mark.parametrize("time", [0.0, 1e-6, -1.0])
def test_a_frame_that_is_not_later_is_left_out(tmp_path: Path, time: float) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for i, t in enumerate((0.0, time, 0.1)):
            writer.write(picture(i), t)
    assert read(tmp_path / "a.mp4")[0] == pytest.approx([0, 0.1])
    assert writer.remarks() == ["a.mp4: 1 frames are left out, too close in time to the one before"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"cannot write .*: No such file"), VideoWriter(tmp_path / "no" / "a.mp4") as w:
        w.write(picture(0), 0)
