"""What the tracker of a bundle lives by, as the manifest states it."""

from __future__ import annotations

from qlot.model.config import QLOTConfig
from qlot.model.layout import Layout
from qlot.runtime.bundle.defaults import default_spec
from qlot.runtime.bundle.manifest import ConfidenceSpec, LayoutSpec, TrackerSpec


def tracker_spec(config: QLOTConfig, layout: Layout, confidence: ConfidenceSpec) -> TrackerSpec:
    """State the tracker's constants for a model and a layout."""
    spec = LayoutSpec.model_validate(layout.spec())
    return default_spec(config.image_size, config.hidden_width, spec, confidence)
