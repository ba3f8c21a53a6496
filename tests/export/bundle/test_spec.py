"""What no bundle can hold is an error of the export, not of the file it would have written."""

from __future__ import annotations

import dataclasses

import pytest

from qlot.export.bundle.spec import tracker_spec
from qlot.export.errors import ExportError
from qlot.model.config import PRESETS
from qlot.model.layout import load_layout
from qlot.runtime.bundle.manifest import ConfidenceSpec

CONFIDENCE = ConfidenceSpec(bias=0, w_spread=-1, found=0.5, lost=0.3, calibration="none")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["wflw98", "mediapipe478"])
def test_every_preset_and_layout_fits(preset: str, name: str) -> None:
    config = PRESETS[preset]
    assert tracker_spec(config, load_layout(name), CONFIDENCE).preprocessing.size == config.image_size


def test_a_model_beyond_the_bounds_is_refused_by_name() -> None:
    huge = dataclasses.replace(PRESETS["final"], image_size=1056)
    with pytest.raises(ExportError, match=r"no bundle can hold this model with layout 'wflw98': size: .*1024"):
        tracker_spec(huge, load_layout("wflw98"), CONFIDENCE)
