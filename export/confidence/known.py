"""The confidence of a checkpoint and layout: as its metadata states it, or fitted on the sample clip.

Shipped weights bring constants for the shipped layouts, fitted on many people. A user's checkpoint or layout has none;
the sample clip shows one man only, which the manifest says.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from qlot.export.bundle.spec import tracker_spec
from qlot.export.calibration.frames import calibration_clip
from qlot.export.confidence.fit import fit_confidence
from qlot.export.confidence.observe import collect
from qlot.export.confidence.scenes import CropScene
from qlot.export.errors import ExportError
from qlot.model.checkpoint import checkpoint_metadata
from qlot.model.config import QLOTConfig
from qlot.model.layout import Layout, load_layout
from qlot.model.torch_network import TorchNetwork
from qlot.model.weights import DEFAULT, load_default, weights_path
from qlot.runtime.bundle.manifest import ConfidenceSpec
from qlot.runtime.bundle.stated_confidence import ANY_FACE, stated_confidence
from qlot.runtime.progress import Progress
from qlot.runtime.tracking.result import Status
from qlot.runtime.tracking.tracker import Tracker

EVERY = 2  # one scene from every second calibration frame


def confidence_of(
    metadata: Mapping[str, str],
    stages: TorchNetwork,
    config: QLOTConfig,
    layout: Layout,
    progress: Progress = lambda _: None,
) -> ConfidenceSpec:
    """Return the constants that a checkpoint states for a layout, or fit them on the sample clip.

    Raises:
        QlotError: the metadata is unusable.
        ExportError: they must be fitted, and the network cannot tell the face of the clip from its surroundings.
    """
    stated = stated_confidence(metadata, layout.name)
    if stated is not None:
        return stated
    progress("fitting the confidence on the sample clip")
    return builtin_confidence(stages, config, layout)


def builtin_confidence(stages: TorchNetwork, config: QLOTConfig, layout: Layout) -> ConfidenceSpec:
    """Fit the constants on the calibration part of the sample clip.

    Raises:
        ExportError: the network cannot tell the face of the clip from its surroundings.
    """
    spec = tracker_spec(config, layout, ANY_FACE)
    try:
        return fit_confidence(collect(stages, spec, _scenes()), "sample clip, one man")
    except ValueError as e:
        raise ExportError(f"the confidence cannot be fitted on the sample clip: {e}") from e


@cache
def _scenes() -> tuple[CropScene, ...]:
    """Frames of the sample clip with the face's crop, where the shipped weights track it."""
    model, layout = load_default(), load_layout("wflw98")
    confidence = stated_confidence(checkpoint_metadata(weights_path(DEFAULT)), layout.name)
    if confidence is None:
        raise ExportError(f"the shipped weights {DEFAULT} state no confidence for {layout.name}")
    tracker = Tracker(tracker_spec(model.config, layout, confidence), TorchNetwork(model, layout))
    scenes = []
    for frame in calibration_clip().frames:
        result = tracker.update(frame.rgb, frame.timestamp)
        if result.status is Status.TRACKING and result.crop is not None and frame.index % EVERY == 0:
            scenes.append(CropScene(frame.rgb, result.crop, result.crop))
    return tuple(scenes)
