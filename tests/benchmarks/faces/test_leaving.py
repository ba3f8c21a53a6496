"""A face that is taken away is given up; one that stays is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlot.benchmarks.faces import leaving
from qlot.benchmarks.faces.leaving import leaving_scores
from qlot.benchmarks.faces.trackers import Ours
from qlot.training.data.clip import Clip
from qlot.training.evaluation.datasets import open_data
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.subject import open_subject

LAYOUT = "ibug68"


@pytest.fixture(scope="module")
def clip(shared: Path) -> Clip:
    return next(v for v in open_data("faces-video", shared / "data", "val").videos if v.name == "sbwe5n").load()


@pytest.fixture(scope="module")
def ours() -> Ours:
    return Ours(open_subject("nano"), EvaluationProtocol())


def test_a_face_that_is_gone_or_covered_is_lost(ours: Ours, clip: Clip) -> None:
    found = leaving_scores(ours, clip, LAYOUT)
    assert found is not None and found.gone is not None and found.gone <= 3
    assert found.covered is not None and found.covered <= 8 and found.confidence < 0.5


def test_a_face_that_stays_is_not(ours: Ours, clip: Clip) -> None:
    assert leaving._lost(leaving._follow(ours, clip, LAYOUT, iter(clip.frames[:50]))) is None
