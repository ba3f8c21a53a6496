"""What the tracker of a bundle lives by, as the manifest states it."""

from __future__ import annotations

from qlot.model.config import QLOTConfig
from qlot.model.layout import Layout
from qlot.runtime.manifest import (
    ConfidenceSpec,
    CropSpec,
    GateSpec,
    IterationSpec,
    LayoutSpec,
    PreprocessingSpec,
    StateSpec,
    TrackerSpec,
    TrackingSpec,
)
from qlot.runtime.state import CLAMP_LOG_SIGMA, CLAMP_POSITION

COLD_STEPS, TRACKING_STEPS = 4, 1
# The wflw98 box with 10 % on each side, squared; the same for every layout, so that each sees the whole face.
CROP = CropSpec(center=(0.0, -0.34), side=2.4)


def tracker_spec(config: QLOTConfig, layout: Layout, confidence: ConfidenceSpec) -> TrackerSpec:
    """State the tracker's constants for a model and a layout."""
    n = len(layout)
    return TrackerSpec(
        preprocessing=PreprocessingSpec(size=config.image_size, crop=CROP),
        state=StateSpec(
            landmarks=(1, n, 7),
            hidden=(1, n, config.hidden_width),
            init="x, y: the layout's canonical (x, -y), -1..1 spanning the crop; log sigma: ln(size / 2); rest 0",
            reset="start from init after a loss, a pause longer than tracking.max_gap, or a new frame size",
            crop_change="x' = s x + t: log sigma += ln s, dx, dy *= s; artanh rho and hidden unchanged",
            clamp_position=CLAMP_POSITION,
            clamp_log_sigma=CLAMP_LOG_SIGMA,
        ),
        iterations=IterationSpec(cold=COLD_STEPS, tracking=TRACKING_STEPS),
        gate=GateSpec(radius=0.0, cutoff=0.05),
        confidence=confidence,
        tracking=TrackingSpec(),
        layout=LayoutSpec.model_validate(layout.spec()),
    )
