"""A face that is taken away is given up; one that stays is not."""

from __future__ import annotations

from pathlib import Path

from qlot.benchmarks.faces import leaving
from qlot.benchmarks.faces.leaving import leaving_scores
from qlot.benchmarks.faces.trackers import Ours
from qlot.training.evaluation.datasets import open_data
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.subject import open_subject


def test_a_face_that_is_gone_or_covered_is_lost(shared: Path) -> None:
    clip = next(v for v in open_data("faces-video", shared / "data", "val").videos if v.name == "sbwe5n").load()
    tracker = Ours(open_subject("nano"), EvaluationProtocol())
    found = leaving_scores(tracker, clip, clip.layout)
    assert found is not None and found.gone is not None and found.gone <= 3
    assert found.covered is not None and found.covered <= 8 and found.confidence < 0.5


def test_a_face_that_stays_is_not(shared: Path) -> None:
    clip = next(v for v in open_data("faces-video", shared / "data", "val").videos if v.name == "sbwe5n").load()
    results = leaving._follow(
        Ours(open_subject("nano"), EvaluationProtocol()), clip, clip.layout, iter(clip.frames[:50])
    )
    assert leaving._lost(results) is None
