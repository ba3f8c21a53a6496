"""The shipped weights' stages and tracker."""

from __future__ import annotations

import functools

import torch

from qlot.export.bundle.spec import tracker_spec
from qlot.export.calibration.frames import FrameSet, calibration_clip
from qlot.export.graphs.stages import Stage, make_stages
from qlot.model.fuse import fuse
from qlot.model.layout import load_layout
from qlot.model.weights import load_default
from qlot.runtime.bundle.manifest import ConfidenceSpec, TrackerSpec


@functools.cache
def trained() -> tuple[list[Stage], TrackerSpec, FrameSet]:
    """Return the shipped weights' stages, their tracker, and the first frames of the sample clip."""
    model, layout = load_default(), load_layout("wflw98")
    points = torch.tensor(layout.points, dtype=torch.float32)
    confidence = ConfidenceSpec(bias=0.0, w_spread=-1.0, found=0.5, lost=0.3, calibration="wide open")
    clip = calibration_clip()
    return make_stages(fuse(model, points)), tracker_spec(model.config, layout, confidence), clip
