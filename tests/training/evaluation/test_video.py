from __future__ import annotations

import math

import numpy as np
import pytest

from qlot.runtime.network.recurrence import Gate, steps
from qlot.runtime.network.state import State, cold_start
from qlot.training.data.clip import Clip, DataError
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.results import ClipResult
from qlot.training.evaluation.scores import stability
from qlot.training.evaluation.video import ForgetfulNetwork, score_clip, total, track_clip
from tests.runtime.disc import POINTS, DiscStages, disc_spec, truth
from tests.training.evaluation.made import disc_clip, disc_network

PROTOCOL = EvaluationProtocol()
LAYOUT = disc_spec().layout


def drifting(t: int) -> tuple[float, float, float]:
    return 70 + 0.5 * t, 60 + 4 * math.sin(0.2 * t), 18.0


def hidden_at_20(t: int) -> tuple[float, float, float]:
    return (80.0, 60.0, 0.0) if 20 <= t < 40 else (80.0, 60.0, 18.0)


def scored(clip: Clip) -> ClipResult:
    return score_clip(track_clip(disc_network(), clip, PROTOCOL), LAYOUT, PROTOCOL)


def test_a_moving_disc_is_tracked_throughout() -> None:
    result = scored(disc_clip(40, drifting))
    assert (result.frames, result.tracked, result.lost, result.first_lost) == (40, 40, False, None)
    assert result.nme["outer eyes"] < 0.03 and result.fr10 == 0
    assert result.stability.frames == 40
    assert list(result.stability.nad) == ["1", "2", "3", "5", "8", "12", "20"]


def test_frames_without_landmarks_are_lost_and_failed() -> None:
    result = scored(disc_clip(60, hidden_at_20))
    assert result.lost and result.first_lost is not None and 20 <= result.first_lost < 30
    assert result.tracked < 60
    assert result.fr10 >= (60 - result.tracked) / 60
    assert result.stability.frames < result.tracked <= 60  # the longest run, not all runs


def test_landmarks_that_stay_behind_are_lost_too() -> None:
    """The disc leaves in one jump: the tracker may keep its landmarks, but not on the face."""
    clip = disc_clip(30, lambda t: (50.0, 60.0, 15.0) if t < 20 else (130.0, 60.0, 15.0))
    result = scored(clip)
    assert result.lost and result.first_lost == 20


def test_noise_of_the_labels_is_theirs_and_not_the_trackers() -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, (50, 5, 2))
    clean, noisy = scored(disc_clip(50, drifting)), scored(disc_clip(50, drifting, noise))
    assert clean.stability.flicker == pytest.approx(noisy.stability.flicker, rel=0.1)
    assert noisy.stability.label_flicker is not None and clean.stability.label_flicker is not None
    assert noisy.stability.label_flicker > 10 * clean.stability.label_flicker
    size = math.sqrt(np.prod(np.ptp(truth(80, 60, 18), axis=0)))
    assert noisy.stability.label_flicker == pytest.approx(math.sqrt(6 * 2) * 0.5 / size, rel=0.15)
    assert noisy.stability.nmf is not None
    assert noisy.stability.nmf == pytest.approx(100 * math.sqrt(2 * 2) * 0.5 * 256 / size, rel=0.15)
    assert noisy.stability.nmf == pytest.approx(25600 * math.sqrt(2) * noisy.stability.nad["1"], rel=0.05)


def test_stability_is_over_the_longest_run_by_what_is_labelled_throughout() -> None:
    random = np.random.default_rng(1)
    labels = truth(80, 60, 18) + np.zeros((30, 1, 1))
    predictions = labels + random.normal(0, 1, labels.shape)
    predictions[10] = np.nan
    valid = np.isfinite(predictions).all(-1)
    valid[20, 2] = False
    found = stability(predictions, labels, valid, PROTOCOL)
    assert found.frames == 19
    keep = [0, 1, 3, 4]
    alone = np.ones((19, 4), np.bool_)
    again = stability(predictions[11:][:, keep], labels[11:][:, keep], alone, PROTOCOL)
    sizes = [math.sqrt(np.prod(np.ptp(labels[0, k], axis=0))) for k in (slice(None), keep)]
    assert sizes[0] == pytest.approx(sizes[1])  # the landmark that is left out does not span the box
    assert found.flicker == pytest.approx(again.flicker)
    assert stability(predictions[:2], labels[:2], valid[:2], PROTOCOL).nmf is None


def test_forgetful_stages_forget_once_a_frame() -> None:
    """The disc's hidden state counts the steps."""
    start = State(cold_start(POINTS, 48, 4).landmarks, np.full((1, 5, 4), 7.0, np.float32))
    for stages, expected in ((DiscStages(), [8, 9, 10]), (ForgetfulNetwork(DiscStages()), [1, 2, 3])):
        features = stages.extract(np.zeros((1, 3, 48, 48), np.float32))
        counted = [float(s.hidden.max()) for s in steps(stages, features, start, 3, Gate())]
        assert counted == expected
    assert stages.size == 48


def test_totals_weigh_clips_alike_and_compare_with_stills() -> None:
    short, long = scored(disc_clip(10, drifting)), scored(disc_clip(40, drifting))
    totals = total([short, long], still_nme=0.01)
    mean = (short.nme["outer eyes"] + long.nme["outer eyes"]) / 2
    assert totals.nme["outer eyes"] == pytest.approx(mean)
    assert totals.nme_ratio == pytest.approx(mean / 0.01)
    assert list(totals.nad) == list(short.stability.nad)  # blocks that fit into both
    assert total([short], still_nme=None).nme_ratio is None


def test_a_clip_that_is_never_tracked_has_no_figures_but_counts() -> None:
    blank = disc_clip(10, lambda _: (80.0, 60.0, 0.0))
    lost, good = scored(blank), scored(disc_clip(10, drifting))
    assert lost.tracked == 0 and lost.lost and lost.first_lost == 0 and lost.fr10 == 1 and lost.nme == {}
    totals = total([lost, good], None)
    assert totals.lost == 1 and totals.fr10 == 0.5 and totals.nme == good.nme
    assert total([lost], None).nme == {} and total([lost], None).flicker_ratio is None


def test_labels_of_other_landmarks_are_refused() -> None:
    clip = disc_clip(5, drifting)
    few = Clip(**{**vars(clip), "queries": POINTS[:4], "landmarks": clip.landmarks[:, :4], "valid": clip.valid[:, :4]})
    with pytest.raises(DataError, match="4 points"):
        track_clip(disc_network(), few, PROTOCOL)
