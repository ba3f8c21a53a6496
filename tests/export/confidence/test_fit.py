"""The fit of the confidence: the regression, the thresholds, and the shipped network on the sample clip."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qlot.export.bundle.spec import tracker_spec
from qlot.export.calibration.frames import calibration_clip
from qlot.export.confidence.fit import fit_confidence, fit_logistic, separation
from qlot.export.confidence.observe import Observation, collect
from qlot.export.confidence.scenes import OTHERS, CropScene, near
from qlot.model.config import PRESETS
from qlot.model.layout import load_layout
from qlot.model.qlot import QLOT
from qlot.model.torch_network import TorchNetwork
from qlot.model.weights import load_default
from qlot.runtime.bundle.manifest import ConfidenceSpec
from qlot.runtime.bundle.stated_confidence import ANY_FACE
from qlot.runtime.geometry import CropBox
from qlot.runtime.tracking.confidence import logistic

FACE = CropBox(205.0, 190.0, 118.0)  # where the man of the sample clip sits in its calibration frames


def observations(positives: np.ndarray, negatives: np.ndarray) -> list[Observation]:
    return [Observation("a", float(x), True) for x in positives] + [
        Observation("b", float(x), False) for x in negatives
    ]


@pytest.mark.parametrize(("positives", "negatives"), [(2000, 2000), (4000, 500)])
def test_regression_recovers_the_odds_of_two_normal_classes(positives: int, negatives: int) -> None:
    """Equal variances s² and means ±m: the log odds are 2 m x / s², whatever the numbers of each."""
    rng = np.random.default_rng(0)
    bias, slope = fit_logistic(rng.normal(-3.5, 0.5, positives), rng.normal(-2.5, 0.5, negatives))
    assert slope == pytest.approx(-4, rel=0.1) and bias / slope == pytest.approx(3, abs=0.03)


def test_regression_finds_the_minimum() -> None:
    """No nearby pair does better on the definition itself: the balanced log loss with the ridge."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(-3, 1, 60), rng.normal(-1.5, 1, 30)
    middle = (x.mean() + y.mean()) / 2

    def loss(bias: float, slope: float) -> float:
        each = (np.logaddexp(0, -(bias + slope * x)).mean() + np.logaddexp(0, bias + slope * y).mean()) / 2
        return float(90 * each + slope**2 / 2)

    bias, slope = fit_logistic(x, y)
    for db, ds in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        centred = bias + slope * middle + db
        assert loss(centred - (slope + ds) * middle, slope + ds) > loss(bias, slope)


@given(st.floats(0.1, 1e3), st.integers(20, 200))
@settings(deadline=None, max_examples=30)
def test_regression_stays_finite_where_classes_do_not_overlap(gap: float, count: int) -> None:
    x = np.linspace(0, 1, count)
    bias, slope = fit_logistic(x - 5 - gap, x - 4)
    assert math.isfinite(bias) and math.isfinite(slope) and slope < 0
    assert bias + slope * (-4.5 - gap) > 0 > bias + slope * -3.5


@given(st.floats(0.3, 3.0), st.integers(0, 2**32 - 1))
@example(0.923828125, 204)  # one face more fell below a threshold of constants not yet rounded
@settings(deadline=None, max_examples=30)
def test_thresholds_keep_what_they_promise(distance: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = observations(rng.normal(-3, 0.3, 3000), rng.normal(-3 + distance, 0.3, 3000))
    spec = fit_confidence(seen, "a test")
    report = separation(seen, spec)
    assert spec.lost < spec.found and spec.found >= 0.5
    assert report["others_found"] <= 0.001 and report["faces_kept"] >= 0.99
    odds = [math.log(t / (1 - t)) for t in (spec.found, spec.lost)]
    assert spec.found == 0.999 or odds[0] - odds[1] > 1.9
    assert "3000 with" in spec.calibration


def test_separation_by_counting() -> None:
    rng = np.random.default_rng(4)
    positives, negatives = rng.normal(-3, 1, 40), rng.normal(-2, 1, 30)
    spec = ConfidenceSpec(bias=-5.0, w_spread=-2.0, found=0.7, lost=0.3, calibration="")
    report = separation(observations(positives, negatives), spec)
    assert report["auc"] == pytest.approx(np.mean(positives[:, None] < negatives[None]))
    assert report["faces_found"] == pytest.approx(np.mean([logistic(-5 - 2 * x) >= 0.7 for x in positives]))
    assert report["others_kept"] == pytest.approx(np.mean([logistic(-5 - 2 * x) >= 0.3 for x in negatives]))


def test_too_little_or_senseless_material_is_refused() -> None:
    few, many = np.linspace(-3.1, -3, 19), np.linspace(-2, -1, 50)
    for x, y in ((few, many), (many, few)):
        with pytest.raises(ValueError, match="at least 20"):
            fit_confidence(observations(x, y), "a test")
    with pytest.raises(ValueError, match="trained"):
        fit_confidence(observations(many, many - 2), "a test")


def test_disturbed_pictures_are_pictures() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (90, 120, 3), np.uint8)
    before = frame.copy()
    for make in OTHERS.values():
        for box in (CropBox(60.0, 40.0, 50.0), CropBox(5.0, 80.0, 70.0)):
            shown = make(CropScene(frame, box, box), rng)
            assert shown.rgb.dtype == np.uint8 and shown.rgb.ndim == 3 and shown.box.side > 0
            assert not np.array_equal(shown.rgb, frame) or shown.box != box
    np.testing.assert_array_equal(frame, before, "the frame itself stays as it is")


def test_moved_crops_stay_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    scene = CropScene(np.zeros((9, 9, 3), np.uint8), CropBox(0.0, 0.0, 1.0), FACE)
    moved = [near(scene, rng).box for _ in range(300)]
    shifts = [math.hypot(b.center_x - 205, b.center_y - 190) / 118 for b in moved]
    scales = [abs(math.log(b.side / 118)) for b in moved]
    assert 0.09 < max(shifts) <= 0.1 + 1e-9 and 0.13 < max(scales) <= 0.15 + 1e-9


def sample_scenes(count: int) -> list[CropScene]:
    frames = calibration_clip().frames
    return [CropScene(frames[i * 100 // count].rgb, FACE, FACE) for i in range(count)]


def look(model: QLOT) -> list[Observation]:
    layout = load_layout("eyes")
    return collect(TorchNetwork(model, layout), tracker_spec(model.config, layout, ANY_FACE), sample_scenes(12), seed=3)


def test_the_shipped_network_knows_a_face_when_it_sees_one() -> None:
    seen = look(load_default())
    kinds = {(o.kind, o.on_face) for o in seen}
    assert {("near", True), ("degraded", True), ("tracked", True), ("gone", False)} <= kinds
    spec = fit_confidence(seen, "12 frames")
    report = separation(seen, spec)
    assert report["auc"] > 0.97 and report["faces_found"] > 0.8 and report["faces_kept"] == 1


def test_an_untrained_network_cannot_be_calibrated() -> None:
    """Negative control: with random weights the fit must refuse, or separate far worse."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = QLOT(PRESETS["final128"]).eval()
    with pytest.raises(ValueError, match=r"at least 20|trained"):
        fit_confidence(look(model), "random weights")
