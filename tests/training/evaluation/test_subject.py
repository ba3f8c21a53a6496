from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qlot.model.checkpoint import file_sha256, save_checkpoint
from qlot.runtime.bundle.stated_confidence import ANY_FACE
from qlot.training.data.clip import DataError
from qlot.training.evaluation.subject import open_subject
from tests.export.small import SMALL, network
from tests.runtime import bundles

CONFIDENCE = {"bias": -6.0, "w_spread": -4.0, "found": 0.8, "lost": 0.4, "calibration": "made up"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    save_checkpoint(network(), path, confidence=json.dumps({"ibug68": CONFIDENCE}))
    return path


def test_weights_serve_any_layout(weights: Path) -> None:
    subject = open_subject(str(weights))
    assert (subject.info.kind, subject.info.layout, subject.info.preset) == ("weights", None, "small")
    assert subject.info.sha256 == file_sha256(weights)
    assert subject.info.parameters == sum(p.numel() for p in network().parameters())
    for layout, count in (("ibug68", 68), ("wflw98", 98)):
        found = subject.network(layout)
        assert len(found.layout.points) == count and found.spec.state.landmarks == (1, count, 7)
        assert found.stages.size == found.spec.preprocessing.size == SMALL.image_size
    assert subject.network("ibug68") is subject.network("ibug68")


def test_the_confidence_is_the_one_stated_for_the_layout_or_none(weights: Path) -> None:
    subject = open_subject(str(weights))
    stated, none = subject.network("ibug68"), subject.network("wflw98")
    assert stated.fitted and stated.spec.confidence.found == 0.8
    assert not none.fitted and none.spec.confidence == ANY_FACE


def test_a_bundle_has_its_own_layout_only(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "bundle")
    subject = open_subject(str(folder))
    own = subject.info.layout
    assert subject.info.kind == "bundle" and own is not None
    np.testing.assert_allclose(subject.network(own).layout.points, bundles.POINTS)
    assert "ONNX" in subject.info.engine or "onnx" in subject.info.engine
    with pytest.raises(DataError, match="--layout ibug68"):
        subject.network("ibug68")


def test_shipped_weights_go_by_name() -> None:
    assert open_subject("default").info.sha256 == open_subject("base").info.sha256


def test_what_is_no_subject_is_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(DataError, match="base, nano"):
        open_subject(str(tmp_path / "nowhere"))
    weights.write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match=r"small\.safetensors"):
        open_subject(str(weights))
    with pytest.raises(DataError, match="no layout 'nonsense'"):
        open_subject("default").network("nonsense")
