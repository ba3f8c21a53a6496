from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from qlot.benchmarks.jitter.clips import JpegFrames, RenderedClip, digest, disturbed, read_clip, write_clip
from qlot.training.data.clip import DataError
from tests.benchmarks.jitter.made import made_clip, small_protocol

PROTOCOL = small_protocol()
MOTION = PROTOCOL.motions[0]


def jpeg_clip() -> RenderedClip:
    clip, rng = made_clip(MOTION, PROTOCOL), np.random.default_rng(0)
    picture = np.full((16, 16, 3), 90, np.uint8)
    frames = JpegFrames(tuple(disturbed(picture, PROTOCOL, rng) for _ in clip.times))
    return replace(clip, frames=frames, start=(0.01, -0.02, 0.03))


def test_noise_has_the_variance_asked_for() -> None:
    protocol = small_protocol(noise={"read": 3.0, "shot": 0.1, "jpeg_quality": 100})
    for value in (40, 200):
        picture = np.full((200, 200, 3), value, np.uint8)
        data = disturbed(picture, protocol, np.random.default_rng(1))
        seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB).astype(float)
        # JPEG halves the resolution of colour: what is left whole is brightness, whose weights are 0.299, 0.587, 0.114
        luma = seen @ [0.299, 0.587, 0.114]
        wanted = np.sqrt((9 + 0.1 * value) * (0.299**2 + 0.587**2 + 0.114**2))
        assert luma.std() == pytest.approx(wanted, rel=0.1)
        assert luma.mean() == pytest.approx(value, abs=0.3)


def test_noise_keeps_colours_apart() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[..., 0] = 200
    data = disturbed(picture, PROTOCOL, np.random.default_rng(1))
    red, _, blue = JpegFrames((data,))[0].reshape(-1, 3).mean(0)
    assert red > 180 and blue < 20


def test_a_clip_comes_back_as_it_was_written(tmp_path: Path) -> None:
    clip = jpeg_clip()
    assert isinstance(clip.frames, JpegFrames)
    path = write_clip(tmp_path, clip, clip.frames, PROTOCOL)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing temporary is left
    back = read_clip(tmp_path, clip.face, MOTION, PROTOCOL)
    assert back is not None and back.start == clip.start
    assert isinstance(back.frames, JpegFrames) and back.frames.files == clip.frames.files
    np.testing.assert_array_equal(back.landmarks["lm68"], clip.landmarks["lm68"])
    assert digest([back]) == digest([clip])


def test_a_clip_of_another_protocol_is_not_used(tmp_path: Path) -> None:
    clip = jpeg_clip()
    assert isinstance(clip.frames, JpegFrames)
    write_clip(tmp_path, clip, clip.frames, PROTOCOL)
    assert read_clip(tmp_path, clip.face, MOTION, small_protocol(lead_in=0.5)) is None
    assert read_clip(tmp_path, 6, MOTION, PROTOCOL) is None


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_a_damaged_clip_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"face5-{MOTION.name}.npz").write_bytes(content)
    with pytest.raises(DataError, match=f"face5-{MOTION.name}.*delete it"):
        read_clip(tmp_path, 5, MOTION, PROTOCOL)
    with pytest.raises(DataError, match="not a picture"):
        JpegFrames((b"nothing",))[0]


def test_the_digest_sees_a_single_pixel_and_a_single_landmark() -> None:
    clip = jpeg_clip()
    pictures = [np.array(picture) for picture in clip.frames]
    same = digest([replace(clip, frames=pictures)])
    assert same == digest([clip])
    pictures[3][0, 0, 0] ^= 1
    assert digest([replace(clip, frames=pictures)]) != same
    moved = {name: positions.copy() for name, positions in clip.landmarks.items()}
    moved["lm68"][0, 0, 0] += 1e-9
    assert digest([replace(clip, landmarks=moved)]) != same
