"""The table beside the peer: a tracker that answers with the labels errs by nothing, and is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from qlot.benchmarks.faces.compare import scores
from qlot.benchmarks.faces.material import FaceMaterial
from qlot.benchmarks.faces.run import table
from qlot.training.data.clip import Array, Clip
from qlot.training.evaluation.protocol import EvaluationProtocol


@dataclass
class Exact:
    """Answers with the labels, moved by so many pixels."""

    moved: float = 0.0
    name: str = "exact"
    only: tuple[str, ...] | None = None

    def layouts(self) -> tuple[str, ...] | None:
        return self.only

    def stills(self, clips: Sequence[Clip], layout: str) -> Array:
        assert all(clip.layout == layout for clip in clips)
        return np.stack([clip.landmarks[0] for clip in clips]) + self.moved

    def video(self, clip: Clip) -> Array:
        return clip.landmarks + self.moved


@pytest.fixture(scope="module")
def material(shared: Path) -> FaceMaterial:
    return FaceMaterial.open(shared / "data")


def test_the_labels_themselves_err_by_nothing(material: FaceMaterial) -> None:
    peer = [clip.landmarks for clip in material.videos]
    found = scores(Exact(), peer, material, EvaluationProtocol(), lambda _: None)
    assert found.labels == pytest.approx(0, abs=1e-6) == found.teacher
    assert found.placed["mediapipe478"]["eye corners"] < 1.5, "the teacher beside people, docs/training.md"
    assert found.placed["wflw98"]["lids"] < 0.8 and found.jaw is not None and found.jaw < 1.5
    for clip in found.clips:
        assert clip.eyes is not None and clip.eyes.aperture_r == pytest.approx(1) == clip.eyes.pupils
    moved = scores(Exact(3.0, "moved"), peer, material, EvaluationProtocol(), lambda _: None)
    assert moved.labels is not None and moved.labels > 3
    out = Console(width=100, record=True)
    out.print(table([found, moved]))
    assert "faces_val, denoised teacher" in out.export_text()


def test_a_bundle_is_compared_in_its_own_layout_alone(material: FaceMaterial) -> None:
    peer = [clip.landmarks for clip in material.videos]
    found = scores(Exact(only=("wflw98",)), peer, material, EvaluationProtocol(), lambda _: None)
    assert found.labels is None and found.teacher is None and found.clips == () and set(found.placed) == {"wflw98"}
