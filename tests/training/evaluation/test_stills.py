from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qlot.runtime.geometry import CropBox
from qlot.training.data.clip import Clip, DataError
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.scores import WORST, score_stills
from qlot.training.evaluation.stills import Faces, disturbed, label_box, measure_stills
from tests.runtime.disc import POINTS, disc_spec, truth
from tests.training.evaluation.made import DiscFaces, disc_clip, disc_network

PROTOCOL = EvaluationProtocol(resamples=200)
LAYOUT = disc_spec().layout


def faces(error: float = 0.0) -> Faces:
    return measure_stills(disc_network(), DiscFaces(error=error), PROTOCOL)


def test_a_tracker_that_is_right_has_next_to_no_error_in_a_disturbed_crop() -> None:
    result = score_stills("discs", faces(), LAYOUT, PROTOCOL)
    assert result.faces == 6 and result.people == 3
    assert [a.normaliser for a in result.accuracy] == ["outer eyes", "face size"]
    for accuracy in result.accuracy:
        assert accuracy.nme.value < 0.02 and accuracy.fr10.value == 0 and accuracy.auc10.value > 0.8


def test_an_error_of_known_length_comes_out_over_both_normalisers() -> None:
    """Labels 30 px beside the truth move the crop too, and the disc is found all the same."""
    measured = faces(error=8.0)
    result = score_stills("discs", measured, LAYOUT, PROTOCOL)
    eyes = np.linalg.norm(measured.labels[:, 1] - measured.labels[:, 0], axis=-1)
    width, height = np.ptp(measured.labels, axis=1).T
    outer, size = result.accuracy
    assert outer.nme.value == pytest.approx(np.mean(8 / eyes), rel=0.05)
    assert size.nme.value == pytest.approx(np.mean(8 / np.sqrt(width * height)), rel=0.05)
    assert outer.nme.low <= outer.nme.value <= outer.nme.high
    assert outer.fr10.value == 1 and outer.auc10.value == 0


def test_people_and_subsets_are_reported_apart() -> None:
    result = score_stills("discs", faces(error=1.0), LAYOUT, PROTOCOL)
    assert list(result.identities) == ["person 0", "person 1", "person 2"]
    assert np.mean(list(result.identities.values())) == pytest.approx(result.accuracy[0].nme.value)
    assert result.subsets["first"].faces == 1
    assert len(result.worst) == min(WORST, 6)
    assert [w.nme for w in result.worst] == sorted((w.nme for w in result.worst), reverse=True)


def test_subsets_are_in_the_order_of_their_numbers() -> None:
    measured = faces()
    named = [(f"level {low} or more",) for low in (110, 80, 9, 80, 110, 9)]
    result = score_stills("discs", dataclasses.replace(measured, subsets=tuple(named)), LAYOUT, PROTOCOL)
    assert [(name, part.faces) for name, part in result.subsets.items()] == [
        ("level 9 or more", 2), ("level 80 or more", 2), ("level 110 or more", 2)
    ]  # fmt: skip


def test_groups_are_averaged_apart() -> None:
    measured = faces()
    layout = LAYOUT.model_copy(update={"groups": {"right eye": (0,), "rest": (1, 2, 3, 4)}})
    moved = measured.predictions.copy()
    moved[:, 0, 0] += 10
    result = score_stills("discs", dataclasses.replace(measured, predictions=moved), layout, PROTOCOL)
    assert result.groups["right eye"] > 10 * result.groups["rest"]


def test_coverage_counts_errors_inside_the_ellipses() -> None:
    measured = faces()
    random = np.random.default_rng(0)
    wide = np.broadcast_to(np.eye(2) * 4.0, (6, 5, 2, 2))
    labels = np.zeros((400, 5, 2)) + POINTS[:, :2] * 50
    many = Faces(
        labels + random.normal(0, 2, labels.shape), np.broadcast_to(wide[:1], (400, 5, 2, 2)), labels,
        np.ones((400, 5), np.bool_), ("a",) * 400, ("b",) * 400, measured.sha256, ((),) * 400,
    )  # fmt: skip
    found = score_stills("many", many, LAYOUT, PROTOCOL).coverage
    assert list(found) == ["0.5", "0.9", "0.95"]
    np.testing.assert_allclose(list(found.values()), [0.5, 0.9, 0.95], atol=0.03)


def test_unlabelled_landmarks_do_not_count() -> None:
    measured = faces()
    labels, valid = measured.labels.copy(), measured.valid.copy()
    labels[:, 3], valid[:, 3] = np.nan, False
    labels[0, 1], valid[0, 1] = np.nan, False  # an outer eye corner: this face has no outer-eye distance
    result = score_stills("discs", dataclasses.replace(measured, labels=labels, valid=valid), LAYOUT, PROTOCOL)
    assert [a.faces for a in result.accuracy] == [5, 6]
    assert all(a.nme.value < 0.02 for a in result.accuracy)


def test_the_same_protocol_gives_the_same_numbers_and_another_seed_others() -> None:
    first, again = faces(), faces()
    np.testing.assert_array_equal(first.predictions, again.predictions)
    assert first.sha256 == again.sha256
    other = measure_stills(disc_network(), DiscFaces(), EvaluationProtocol(seed=1))
    assert np.abs(first.predictions - other.predictions).max() > 0
    assert other.sha256 == first.sha256  # of the data, not of the crops
    assert measure_stills(disc_network(), DiscFaces(error=1.0), PROTOCOL).sha256 != first.sha256


def test_the_disturbance_is_uniform_in_scale_and_place() -> None:
    box, rng = CropBox(50.0, 40.0, 100.0), np.random.default_rng(0)
    drawn = [disturbed(box, EvaluationProtocol(), rng) for _ in range(2000)]
    sides = np.array([b.side for b in drawn])
    offsets = np.array([(b.center_x - 50, b.center_y - 40) for b in drawn])
    assert 85 <= sides.min() < 86 and 114 < sides.max() <= 115
    assert np.abs(offsets).max() <= 10 and np.abs(offsets).max(0) == pytest.approx(10, abs=0.1)
    assert np.abs([sides.mean() - 100, *offsets.mean(0)]).max() < 0.6


def test_the_crop_is_the_rule_around_the_valid_labels() -> None:
    clip = disc_clip(1, lambda _: (80.0, 60.0, 20.0))
    valid = clip.valid.copy()
    valid[0, 4] = False
    landmarks = clip.landmarks.copy()
    landmarks[0, 4] = np.nan
    holes = Clip(**{**vars(clip), "landmarks": landmarks, "valid": valid})
    for one in (clip, holes):
        box = label_box(one, 0, disc_spec().preprocessing.crop)
        assert (box.center_x, box.center_y, box.side) == pytest.approx((80, 60, 2.4 * 20 / 0.5), abs=1e-9)
    np.testing.assert_allclose(truth(80, 60, 20), clip.landmarks[0])


def test_labels_of_other_landmarks_are_refused() -> None:
    class Others(DiscFaces):
        def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
            clip = super().clip(index, length, rng)
            return Clip(**{**vars(clip), "queries": clip.queries + 0.1, "layout": "ibug68"})

    with pytest.raises(DataError, match="--layout ibug68"):
        measure_stills(disc_network(), Others(), PROTOCOL)


def test_no_face_and_no_picture_are_refused() -> None:
    clip = disc_clip(1, lambda _: (80.0, 60.0, 20.0))
    upside_down = Clip(**{**vars(clip), "landmarks": -clip.landmarks})
    with pytest.raises(DataError, match="no face"):
        label_box(upside_down, 0, disc_spec().preprocessing.crop)
    with pytest.raises(DataError, match="no picture"):
        measure_stills(disc_network(), DiscFaces(count=0), PROTOCOL)


def test_a_network_without_numbers_is_refused() -> None:
    network = disc_network()

    class Broken(type(network.stages)):  # type: ignore[misc]
        def refine(self, features, state):  # type: ignore[no-untyped-def]
            displacement, covariance, hidden = super().refine(features, state)
            return displacement * np.float32(np.nan), covariance, hidden

    with pytest.raises(DataError, match="not finite"):
        measure_stills(dataclasses.replace(network, stages=Broken()), DiscFaces(), PROTOCOL)
