"""Ellipses of hidden landmarks, by the shipped network."""

from __future__ import annotations

from pathlib import Path

from qlot.benchmarks.faces.hidden import KINDS, LEVELS, hidden_scores
from qlot.benchmarks.faces.material import DENOISED, VAL, clips_in
from qlot.benchmarks.faces.trackers import Ours
from qlot.training.data.sources.stills import LabelledFaces
from qlot.training.evaluation.datasets import TEACHER
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.subject import open_subject


def test_hidden_landmarks_are_told_from_those_beside_them(shared: Path) -> None:
    faces = shared / "data" / "faces"
    source = LabelledFaces(faces / VAL, TEACHER, table=faces / f"{VAL}{DENOISED}")
    clips = clips_in(source, "wflw98", range(0, 360, 36))
    ours = Ours(open_subject("nano"), EvaluationProtocol())
    found = hidden_scores(ours, clips, "wflw98")
    for shares in (found.hidden, found.seen):
        assert list(shares) == list(LEVELS) and 0 < shares[0.5] < shares[0.9] <= shares[0.95] <= 1
    assert found.growth > 1.2, "what is hidden is less sure"
    few = clips[: len(KINDS)]
    assert hidden_scores(ours, few, "wflw98") == hidden_scores(ours, few, "wflw98")
