"""A bundle and its checkpoint, bisected."""

from __future__ import annotations

from qlot.export.bisect.search import Departure, first_departure
from qlot.export.calibration.frames import parity_clip
from qlot.export.graphs.schemes import plan_for
from qlot.export.parity.levels import record_calls
from qlot.export.parity.stages import FloatGraphs
from qlot.export.verify import origin
from qlot.model.torch_network import TorchNetwork, one_thread
from qlot.runtime.bundle.folder import Bundle


@one_thread()
def bisect(bundle: Bundle, checkpoint: str | None = None) -> Departure | None:
    """Find where a bundle leaves its checkpoint first over the parity frames; None if no stage does by itself.

    Args:
        bundle: an open bundle.
        checkpoint: file or name of shipped weights; None looks among the shipped weights.

    Raises:
        ExportError: the checkpoint is not the one the bundle was exported from, or cannot be found.
    """
    manifest = bundle.manifest
    model, layout, stages = origin(bundle, checkpoint)
    _, run, calls = record_calls(TorchNetwork(model, layout), manifest, parity_clip())
    floats = FloatGraphs(stages, manifest.preprocessing.size)
    return first_departure(bundle, floats, calls, run, plan_for(manifest.target, manifest.scheme.name))
