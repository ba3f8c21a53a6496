"""Read a bundle and track a face with it. Needs no PyTorch.

What is named here is for programs that embed QLOT (`docs/api.md`); every other name of the package may change.
"""

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import IterationSpec, SteadySpec
from qlot.runtime.errors import BundleError, FrameError, ParityError, QlotError
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate
from qlot.runtime.network.replay import ReplayReport, replay
from qlot.runtime.tracking.result import Status, TrackResult
from qlot.runtime.tracking.tracker import Tracker

__all__ = [
    "Bundle", "BundleError", "BundleNetwork", "CropBox", "FrameError", "Gate", "IterationSpec", "ParityError",
    "QlotError", "ReplayReport", "Status", "SteadySpec", "TrackResult", "Tracker", "replay",
]  # fmt: skip
