"""Read a bundle and track a face with it. Needs no PyTorch."""

from qlot.runtime.bundle import Bundle
from qlot.runtime.errors import QlotError
from qlot.runtime.recurrence import Gate
from qlot.runtime.result import CropBox, Status, TrackResult
from qlot.runtime.tracker import Tracker

__all__ = ["Bundle", "CropBox", "Gate", "QlotError", "Status", "TrackResult", "Tracker"]
