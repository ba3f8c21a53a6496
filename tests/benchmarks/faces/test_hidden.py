"""Ellipses of hidden landmarks, by a network that is as sure as it is told."""

from __future__ import annotations

from pathlib import Path

from qlot.benchmarks.faces.hidden import LEVELS, hidden_scores
from qlot.benchmarks.faces.material import FaceMaterial, clips_in
from qlot.benchmarks.faces.trackers import Ours
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.subject import open_subject


def test_hidden_landmarks_are_told_from_those_beside_them(shared: Path) -> None:
    clips = clips_in(FaceMaterial.open(shared / "data").teacher, "wflw98", range(0, 360, 24))
    found = hidden_scores(Ours(open_subject("nano"), EvaluationProtocol()), clips, "wflw98")
    for shares in (found.hidden, found.seen):
        assert list(shares) == list(LEVELS) and 0 < shares[0.5] < shares[0.9] <= shares[0.95] <= 1
    assert found.growth > 1.2, "what is hidden is less sure"
    again = hidden_scores(Ours(open_subject("nano"), EvaluationProtocol()), clips, "wflw98")
    assert again == found
