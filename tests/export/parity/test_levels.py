"""Each level of the report finds what it is for, and blames the stage that is at fault."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from rich.console import Console

from qlot.export.graphs.schemes import PLANS
from qlot.export.parity.console import print_levels
from qlot.export.parity.levels import Levels, Reference, measure_levels
from qlot.export.parity.reference import TrackedFrame
from qlot.export.parity.spread import Check, Spread
from qlot.export.parity.stages import _Signal
from qlot.export.parity.task import Compared, _crops
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import ParityError
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.bundle_network import BundleNetwork
from tests.export import small
from tests.export.graph_surgery import BROKEN, graphs, replace_output, weight
from tests.export.reference import recorded

FP32 = PLANS["fp32"]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return recorded()


def measured(reference: Reference, folder: Path, **changes: object) -> Levels:
    bundle = Bundle.open(small.write_bundle(folder, graphs(**changes)))  # type: ignore[arg-type]
    return measure_levels(bundle, BundleNetwork(bundle), reference, small.stages("windowed"), FP32)


@pytest.fixture(scope="module")
def good(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Levels:
    return measured(reference, tmp_path_factory.mktemp("levels") / "good")


def test_a_good_bundle_passes_every_level(good: Levels) -> None:
    good.check()
    assert {c.level for c in good.checks} == {"a", "b", "c"}
    assert not good.failed
    extractor, refiner = good.stages.stages
    assert (extractor.name, refiner.name) == ("extractor", "refiner")
    assert extractor.px.shape == refiner.px.shape == (7, len(small.layout()))  # 4 steps, then 3 frames of one
    assert extractor.last.tolist() == [False, False, False, True, True, True, True]
    assert max(extractor.spread.max, refiner.spread.max) < FP32.tolerance.px / 20
    assert set(extractor.psnr) == {t.name for t in small.stage("windowed", "extractor").outputs}
    assert min(extractor.psnr.values()) > 100
    assert not refiner.psnr
    still, moving = good.task.clips
    assert still.lag is None and moving.lag is not None
    assert still.nmf.reference > 0
    assert all(abs(c.nmf.change) < 1e-3 for c in good.task.clips)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_refiner_fails_alone_and_the_extractor_does_not(
    name: str, reference: Reference, tmp_path: Path
) -> None:
    levels = measured(reference, tmp_path / "bad", change=BROKEN[name])
    assert {c.subject for c in levels.failed if c.level == "a"} == {"refiner alone"}
    with pytest.raises(ParityError, match="Out of bounds alone: refiner alone"):
        levels.check()


def test_a_broken_extractor_fails_alone_and_the_refiner_does_not(reference: Reference, tmp_path: Path) -> None:
    change = weight("backbone.stem.stem1.conv.weight", 3.0)
    levels = measured(reference, tmp_path / "bad", change=change, stage="extractor")
    assert {c.subject for c in levels.failed if c.level == "a"} == {"extractor alone"}
    assert any("PSNR" in c.figure for c in levels.failed)
    with pytest.raises(ParityError, match="Out of bounds alone: extractor alone"):
        levels.check()


def frozen(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
    replace_output(model, "displacement", helper.make_node("Mul", ["raw", "nothing"], ["displacement"]))


def test_a_frozen_track_fails_the_task_too(good: Levels, reference: Reference, tmp_path: Path) -> None:
    levels = measured(reference, tmp_path / "bad", change=frozen)
    assert {c.subject for c in levels.failed if c.level == "c"} >= {"still, noisy", "moving, noisy"}
    assert levels.task.clips[0].nmf.change == -1
    only_the_task = dataclasses.replace(good, task=levels.task)
    with pytest.raises(ParityError, match="still, noisy: change of NMF -100 %, at most 3 allowed"):
        only_the_task.check()


def test_a_median_beyond_its_bound_fails_though_no_landmark_is_far_off(good: Levels) -> None:
    errors = np.where(np.isnan(good.free.errors), np.nan, FP32.tolerance.px / 2)
    levels = dataclasses.replace(good, free=dataclasses.replace(good.free, errors=errors))
    assert levels.free.max_result_px < levels.free.tolerance.px
    assert [c.figure for c in levels.failed] == ["median"]
    with pytest.raises(ParityError, match=r"median error of the replay is 0\.01 px; 0\.002 px"):
        levels.check()


def test_the_picture_moves_exactly_as_it_is_said_to() -> None:
    y, x = np.mgrid[:120, :120]
    blob = 255 * np.exp(-((x - 60.3) ** 2 + (y - 57.8) ** 2) / (2 * 6**2))
    picture = np.rint(blob).astype(np.uint8)[..., None].repeat(3, -1)
    moved = np.array([[0.0, 0.0], [1.37, -0.52], [-3.0, 2.25]])
    crops = _crops(TrackedFrame(picture, CropBox(60, 58, 80), picture), moved, 64, None).astype(np.float64)
    np.testing.assert_allclose(_centroids(crops) - _centroids(crops)[0], moved, atol=0.02)


def _centroids(crops: NDArray[np.float64]) -> NDArray[np.float64]:
    values = crops[..., 0]
    v, u = np.mgrid[: values.shape[1], : values.shape[2]]
    return np.stack([(values * axis).sum((1, 2)) / values.sum((1, 2)) for axis in (u, v)], -1)


def test_psnr_is_that_of_known_noise() -> None:
    signal, wanted = _Signal(), np.linspace(-1, 3, 1000, dtype=np.float32)
    signal.add(wanted + np.float32(0.04), wanted)
    assert signal.psnr == pytest.approx(20 * math.log10(4 / 0.04), abs=0.01)
    signal.add(np.full_like(wanted, np.nan), wanted)
    assert signal.psnr == -math.inf
    same = _Signal()
    same.add(wanted, wanted)
    assert same.psnr == math.inf


def test_what_is_not_a_number_is_out_of_bounds() -> None:
    assert not Check("b", "x", "y", math.nan, 1, "px").passed
    assert not Check("b", "x", "y", math.nan, 1, "dB", "at least").passed
    assert not Check("c", "x", "y", -4, 3, "%").passed
    assert Check("a", "x", "y", math.inf, 60, "dB", "at least").passed
    assert Spread.of(np.array([np.nan, 1, np.inf])).max == math.inf
    assert Compared(0, 1).change == math.inf


def test_uncertainty_and_percent_are_of_the_same_run(good: Levels) -> None:
    free = good.free
    assert set(free.uncertainty) == {"ln sigma", "rho", "gate factor k"}
    for errors in free.uncertainty.values():
        np.testing.assert_array_equal(np.isnan(errors), np.isnan(free.errors))
    assert np.nanmax(free.uncertainty["ln sigma"]) == pytest.approx(free.sigma)
    assert free.gate.radius == small.GATE.radius
    assert free.percent is not None and free.eyes is not None
    assert np.nanmax(free.percent[0]) == pytest.approx(100 * np.nanmax(free.errors[0]) / free.eyes[0])
    assert free.results.max() == free.max_result_px


def test_the_table_has_all_levels_and_says_what_failed(good: Levels) -> None:
    def printed(levels: Levels) -> str:
        console = Console(file=io.StringIO(), width=110)
        print_levels(console, levels)
        return console.file.getvalue()  # type: ignore[attr-defined]

    text = printed(good)
    for part in ("extractor alone", "refiner alone", "free run", "still, noisy", "real clip", "onnxruntime"):
        assert part in text
    assert "FAILED" not in text
    bad = dataclasses.replace(good, free=dataclasses.replace(good.free, flicker=0.5))
    assert "FAILED" not in printed(bad)  # the real clip's steadiness is the task's
    worse = dataclasses.replace(good, task=dataclasses.replace(good.task, flicker=0.5))
    assert "FAILED" in printed(worse)
    assert "real clip: change of flicker 50 %, at most 3 allowed" in printed(worse)
