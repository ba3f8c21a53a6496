"""The constants that a tracker starts from: what an export writes into a manifest, and what evaluates bare weights."""

from __future__ import annotations

from qlot.runtime.bundle.manifest import (
    ConfidenceSpec,
    CropSpec,
    GateSpec,
    IterationSpec,
    LayoutSpec,
    PreprocessingSpec,
    StateSpec,
    SteadySpec,
    TrackerSpec,
    TrackingSpec,
)

CLAMP_POSITION = 2.0  # |x|, |y| in half sides of the input
CLAMP_LOG_SIGMA = (-10.0, 3.0)  # ln of half sides

COLD_STEPS, TRACKING_STEPS = 4, 1
# The wflw98 box with 10 % on each side, squared; the same for every layout, so that each sees the whole face.
CROP = CropSpec(center=(0.0, -0.34), side=2.4)


def default_spec(size: int, hidden: int, layout: LayoutSpec, confidence: ConfidenceSpec) -> TrackerSpec:
    """State the tracker's constants for a network and a layout.

    Args:
        size: side of the network input in pixels.
        hidden: channels of the hidden state.
        layout: the landmarks.
        confidence: fitted for these weights and landmarks.
    """
    n = len(layout.points)
    return TrackerSpec(
        preprocessing=PreprocessingSpec(size=size, crop=CROP),
        state=StateSpec(
            landmarks=(1, n, 7),
            hidden=(1, n, hidden),
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
        steady=SteadySpec(),
        layout=layout,
    )
