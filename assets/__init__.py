"""A clip of one face that ships with the package: for calibration, for parity, and to try things on."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

CALIBRATION_FRAMES = range(100)
PARITY_FRAMES = range(110, 250)  # ten frames apart from calibration: neighbouring frames are nearly equal


def sample_clip() -> Path:
    """Return the path of the clip: 250 frames, 400x300, 25 frames/s (README.md beside it: origin and licence)."""
    return Path(str(importlib.resources.files(__name__) / "sample.mp4"))
