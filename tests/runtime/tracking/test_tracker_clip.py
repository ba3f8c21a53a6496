"""The tracker with the shipped network on the sample clip: finds the man, keeps him, loses him when he is gone."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qlot.assets import sample_clip
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.media.video import VideoReader
from qlot.runtime.tracking.result import Status, TrackResult
from qlot.runtime.tracking.tracker import Tracker

RATE = 25
Frames = list[NDArray[np.uint8]]


@cache
def clip() -> Frames:
    return [frame.rgb for frame in VideoReader(sample_clip())]


@pytest.fixture(scope="module")
def bundle(bundle_fp32: Path) -> Bundle:
    return Bundle.open(bundle_fp32)


def run(tracker: Tracker, frames: Frames, rate: float = RATE) -> list[TrackResult]:
    return [tracker.update(frame, i / rate) for i, frame in enumerate(frames)]


def landmarks(results: list[TrackResult]) -> NDArray[np.float32]:
    found = [r.landmarks for r in results if r.landmarks is not None]
    return np.stack(found)


def test_the_man_is_found_and_kept(bundle: Bundle) -> None:
    results = run(Tracker(bundle), clip())
    first = next(i for i, r in enumerate(results) if r.status == Status.TRACKING)
    assert first <= 15 and {r.status for r in results[first:]} == {Status.TRACKING}
    assert all(r.confidence > bundle.manifest.confidence.lost for r in results[first:])
    assert all(r.iterations == 1 for r in results[first + 1 :])
    outer = bundle.manifest.layout.outer_eyes
    assert outer is not None
    eyes = landmarks(results)[:, outer]
    distance = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1)
    assert distance.min() > 50 and distance.max() < 85, "pixels, in a frame of 400 x 300 with the face in its middle"
    assert (eyes[:, 0, 0] < eyes[:, 1, 0]).all(), "the subject's right eye is on the left"
    crops = [r.crop for r in results[first:]]
    assert sum(a != b for a, b in pairwise(crops)) < len(crops) / 2


def test_upside_down_there_is_no_face_unless_the_tracker_is_told(bundle: Bundle) -> None:
    frames = clip()[::5]
    turned = [frame[::-1, ::-1] for frame in frames]
    assert Status.TRACKING not in {r.status for r in run(Tracker(bundle), turned, 5)}
    told = landmarks(run(Tracker(bundle, rotation=180), turned))
    np.testing.assert_allclose(told, (399, 299) - landmarks(run(Tracker(bundle), frames)), atol=1e-2)


def test_a_mirrored_preview_keeps_the_subjects_sides(bundle: Bundle) -> None:
    frames = clip()[::5]
    flipped = landmarks(run(Tracker(bundle, mirrored=True), [frame[:, ::-1] for frame in frames]))
    flipped[..., 0] = 399 - flipped[..., 0]
    np.testing.assert_allclose(flipped, landmarks(run(Tracker(bundle), frames)), atol=1e-2)


@pytest.mark.parametrize("what", ["grey", "noise"])
def test_when_he_is_gone_he_is_lost_and_found_again(bundle: Bundle, what: str) -> None:
    rng = np.random.default_rng(0)
    here = clip()[:20]
    gone = {
        "grey": [np.full_like(here[0], 127)] * 25,
        "noise": [rng.integers(0, 256, here[0].shape, np.uint8) for _ in range(25)],
    }[what]
    results = run(Tracker(bundle), [*here, *gone, *clip()[45:70]])
    lost = [i for i, r in enumerate(results) if i >= 20 and r.status != Status.TRACKING]
    assert 20 <= lost[0] <= 23, "no face is claimed as soon as the confidence has fallen, which takes a frame or three"
    assert not {Status.TRACKING} & {r.status for r in results[lost[0] : 45]}
    back = next(i for i, r in enumerate(results) if i >= 45 and r.status == Status.TRACKING)
    assert back < 60


def test_an_upside_down_face_is_not_found(bundle: Bundle) -> None:
    """One that turns over while it is tracked may be kept: the model card says so."""
    results = run(Tracker(bundle), [frame[::-1] for frame in clip()[:25]])
    assert not {Status.TRACKING} & {r.status for r in results}


def test_half_the_frame_rate_gives_the_same_landmarks(bundle: Bundle) -> None:
    frames = clip()[110:210]
    fast, slow = run(Tracker(bundle), frames), run(Tracker(bundle), frames[::2], RATE / 2)
    apart = [
        np.linalg.norm(a.landmarks - b.landmarks, axis=-1).mean()
        for a, b in zip(fast[::2], slow, strict=True)
        if a.landmarks is not None and b.landmarks is not None
    ]
    assert len(apart) > 40 and np.median(apart) < 1.0, "pixels"
