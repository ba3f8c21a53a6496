"""Read a bundle and track a face with it. Needs no PyTorch."""

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import QlotError
from qlot.runtime.network.recurrence import Gate
from qlot.runtime.tracking.result import CropBox, Status, TrackResult
from qlot.runtime.tracking.tracker import Tracker

__all__ = ["Bundle", "CropBox", "Gate", "QlotError", "Status", "TrackResult", "Tracker"]
