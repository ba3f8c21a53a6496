from __future__ import annotations

import hashlib

from qlot.assets import CALIBRATION_FRAMES, PARITY_FRAMES, sample_clip
from qlot.runtime.media.video import VideoReader


def test_the_clip_is_what_its_readme_says() -> None:
    readme = sample_clip().with_name("README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(sample_clip().read_bytes()).hexdigest() in readme
    assert "Copyright (c) 2017 Audun Mathias Øygard" in readme and "Permission is hereby granted" in readme
    reader = VideoReader(sample_clip())
    frames = list(reader)
    assert (reader.total, reader.fps, reader.remarks()) == (250, 25.0, [])
    assert frames[0].rgb.shape == (300, 400, 3)
    assert [f.timestamp for f in frames] == [i / 25 for i in range(250)]


def test_calibration_and_parity_frames_are_apart() -> None:
    assert len(CALIBRATION_FRAMES) == 100 and len(PARITY_FRAMES) == 140
    assert PARITY_FRAMES.start - CALIBRATION_FRAMES.stop >= 10 and PARITY_FRAMES.stop == 250
