"""What the tracker of a bundle lives by, as the manifest states it."""

from __future__ import annotations

from pydantic import ValidationError

from qlot.export.errors import ExportError
from qlot.model.config import QLOTConfig
from qlot.model.layout import Layout
from qlot.runtime.bundle.defaults import default_spec
from qlot.runtime.bundle.json_text import describe
from qlot.runtime.bundle.manifest import ConfidenceSpec, LayoutSpec, TrackerSpec


def tracker_spec(config: QLOTConfig, layout: Layout, confidence: ConfidenceSpec) -> TrackerSpec:
    """State the tracker's constants for a model and a layout.

    Raises:
        ExportError: a bundle has a bound that the model or the layout exceeds; the message names it.
    """
    try:
        spec = LayoutSpec.model_validate(layout.spec())
        return default_spec(config.image_size, config.hidden_width, spec, confidence)
    except ValidationError as e:
        raise ExportError(f"no bundle can hold this model with layout {layout.name!r}: {describe(e)}") from e
