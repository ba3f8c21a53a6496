"""Opening a camera is tested by its failure, all else on a file that OpenCV opens: these tests need no camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qlot.assets import sample_clip
from qlot.runtime.errors import VideoError
from qlot.runtime.media.camera import CameraReader
from qlot.runtime.media.video import VideoReader


def test_a_missing_camera_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VideoError, match=r"camera 97 cannot be opened: is it connected"):
        CameraReader(97)
    assert capfd.readouterr().err == "", "the error is said once, not by OpenCV as well"


def test_frames_are_rgb_and_time_rises() -> None:
    reader = CameraReader(str(sample_clip()))
    assert reader.total is None and reader.remarks() == []
    frames = list(reader)
    times = np.array([f.timestamp for f in frames])
    assert len(frames) == 250 and times[0] == 0 and (np.diff(times) > 0).all()
    first = next(iter(VideoReader(sample_clip()))).rgb
    assert np.abs(frames[0].rgb.astype(int) - first).mean() < 2
    assert np.abs(frames[0].rgb[..., ::-1].astype(int) - first).mean() > 10, "the other channel order would be seen"


def test_something_else_is_no_camera(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cannot be opened"):
        CameraReader(str(tmp_path / "nothing"))
