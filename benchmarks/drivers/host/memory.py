"""What this process holds in memory, and whether it grows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from qlot.benchmarks.protocol.constants import SoakRule
from qlot.benchmarks.results.model import SoakSpec
from qlot.runtime.errors import QlotError
from qlot.runtime.progress import Progress

STATM = Path("/proc/self/statm")


def peak() -> int | None:
    """Return the largest resident set of this process so far, bytes; None where the system does not tell."""
    with suppress(ImportError):
        import resource

        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(largest) * (1 if sys.platform == "darwin" else 1024)
    return None


def resident() -> int | None:
    """Return the resident set of this process, bytes; None off Linux."""
    with suppress(OSError, ValueError, IndexError):
        return int(STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def soak(frames: Iterator[float], amount: SoakRule, progress: Progress) -> SoakSpec:
    """Run many frames and look at the memory now and then.

    Args:
        frames: each runs one.
        amount: how many, and how often.
        progress: told how far it is.

    Raises:
        QlotError: this system does not tell what a process holds.
    """
    if resident() is None:
        raise QlotError("--soak: this system does not say what a process holds in memory; measure on Linux.")
    found = []
    for i in range(0, amount.frames, amount.every):
        progress(f"soak: frame {i} of {amount.frames}")
        for _ in islice(frames, amount.every):
            pass
        found.append(resident() or 0)
    return SoakSpec(frames=amount.frames, every=amount.every, resident=tuple(found))
