"""Bisection: a broken graph is found at its first call, a good one is not, and what is saved shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from qlot.export.bisect.saved import CALL, README, check_free, save, sentence
from qlot.export.bisect.search import Departure, first_departure
from qlot.export.errors import ExportError
from qlot.export.graphs.schemes import PLANS
from qlot.export.parity.levels import Reference
from qlot.export.parity.stages import FloatGraphs
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.network.pixels import network_input
from tests.export import small
from tests.export.graph_surgery import BROKEN, graphs, weight
from tests.export.reference import recorded


@pytest.fixture(scope="module")
def reference() -> Reference:
    return recorded()


def departure(reference: Reference, folder: Path, **changes: object) -> Departure | None:
    bundle = Bundle.open(small.write_bundle(folder, graphs(**changes)))  # type: ignore[arg-type]
    floats = FloatGraphs(small.stages("windowed"), small.SMALL.image_size)
    return first_departure(bundle, floats, reference.calls, reference.run, PLANS["fp32"])


def test_nothing_is_found_in_a_good_bundle(reference: Reference, tmp_path: Path) -> None:
    assert departure(reference, tmp_path / "good") is None


TENSORS = {
    "one weight of the displacement head": "displacement",
    "displacement taken from covariance": "displacement",
    "x and y swapped": "displacement",
    "covariance reversed": "covariance",
    "hidden state dropped": "hidden_out",
    "hidden state not updated": "hidden_out",
    "landmarks rolled": "displacement",
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_broken_refiner_is_found_at_its_first_call(name: str, reference: Reference, tmp_path: Path) -> None:
    found = departure(reference, tmp_path / "bad", change=BROKEN[name])
    assert found is not None
    assert (found.frame, found.step, found.stage, found.tensor) == (0, 1, "refiner", TENSORS[name])
    assert found.own > found.check.limit
    assert not found.check.passed
    state, answer = reference.calls[0]
    np.testing.assert_array_equal(found.inputs["landmarks"], state.landmarks)
    np.testing.assert_array_equal(found.theirs["displacement"], answer[0])
    off = np.abs(found.ours[found.tensor] - found.theirs[found.tensor])
    if found.tensor != "covariance":
        assert off[found.index] == off.max()
    assert found.found == found.ours[found.tensor][found.index]
    assert found.wanted == found.theirs[found.tensor][found.index]


def test_a_broken_extractor_is_found_before_any_step(reference: Reference, tmp_path: Path) -> None:
    change = weight("backbone.stem.stem1.conv.weight", 3.0)
    found = departure(reference, tmp_path / "bad", change=change, stage="extractor")
    assert found is not None
    assert (found.frame, found.step, found.stage) == (0, 0, "extractor")
    assert found.tensor == small.stage("windowed", "extractor").outputs[0].name
    np.testing.assert_array_equal(found.inputs["image"], network_input(reference.run.crops[0]))
    assert found.own < found.check.limit  # dB


def test_an_error_that_comes_late_is_found_late(reference: Reference, tmp_path: Path) -> None:
    """The hidden state is zero at the first step, so a weight on it is wrong from the second on."""

    def change(model: ModelProto) -> None:
        readers = [n for n in model.graph.node if "hidden" in n.input]
        assert readers
        model.graph.initializer.append(numpy_helper.from_array(np.array(3.0, np.float32), "three"))
        for node in readers:
            node.input[:] = ["tripled" if i == "hidden" else i for i in node.input]
        model.graph.node.insert(0, helper.make_node("Mul", ["hidden", "three"], ["tripled"]))

    found = departure(reference, tmp_path / "late", change=change)
    assert found is not None
    assert (found.frame, found.step, found.stage) == (0, 2, "refiner")


def test_what_is_not_a_number_is_found_and_no_error(reference: Reference, tmp_path: Path) -> None:
    found = departure(reference, tmp_path / "nan", change=weight("refiner.delta.weight", float("nan")))
    assert found is not None
    assert (found.frame, found.step, found.tensor) == (0, 1, "displacement")
    assert found.own == np.inf and np.isnan(found.found)


def test_what_is_saved_can_be_loaded_as_the_readme_says(reference: Reference, tmp_path: Path) -> None:
    found = departure(reference, tmp_path / "bad", change=BROKEN["one weight of the displacement head"])
    assert found is not None
    out = tmp_path / "new" / "found"
    save(found, out, tmp_path / "bad")
    assert sorted(p.name for p in out.iterdir()) == [README, CALL]
    assert [p.name for p in out.parent.iterdir()] == ["found"]
    text = (out / README).read_text(encoding="utf-8")
    assert sentence(found) in text and found.where.split("'")[1] in small.layout().names
    code = "\n".join(line.strip() for line in text.splitlines() if line.startswith("    "))
    done = subprocess.run([sys.executable, "-c", code], cwd=out, capture_output=True, text=True, check=True)
    ours, theirs = map(float, done.stdout.split())
    assert (ours, theirs) == pytest.approx((found.found, found.wanted), rel=1e-6)
    with np.load(out / CALL) as call:
        assert {k.partition(".")[0] for k in call} == {"in", "bundle", "pytorch"}
        assert {"in.landmarks", "in.hidden", "in.context"} <= set(call)


def test_a_place_that_is_taken_or_in_the_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportError, match="exists already"):
        check_free(tmp_path / "there", tmp_path / "bundle")
    with pytest.raises(ExportError, match="inside the bundle"):
        check_free(tmp_path / "bundle" / "x", tmp_path / "bundle")
    check_free(tmp_path / "deep" / "x", tmp_path / "bundle")
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
