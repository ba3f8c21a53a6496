"""What the counting emulator runs: a bundle's stages on its golden sequence, each call between two marks.

`python -m qlot.benchmarks.arm.counted BUNDLE CALLS`. The plugin (instructions.c) prints its counts at every mark.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import numpy as np

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.network.pixels import network_input, to_bytes
from qlot.runtime.network.sessions import open_stage

LABELS = {"nothing": 1, "extractor": 3, "refiner": 5}  # a call begins with the label and ends with the next number
WARM = 2  # calls before the first mark: engines plan and pack at first


def main(path: str, calls: str) -> int:
    """Call the stages."""
    bundle, mark = Bundle.open(path), ctypes.CDLL(None).getpriority
    golden = bundle.golden()
    assert golden is not None  # counting.py has looked
    extractor, refiner = open_stage(bundle, "extractor"), open_stage(bundle, "refiner")
    image = network_input(golden.crops[-1])
    feeds = {"image": to_bytes(image) if extractor.inputs[0].dtype == "uint8" else image}
    features = extractor.run(feeds)
    inputs = {**{k: np.ascontiguousarray(v) for k, v in features.items()}, **golden.last_state}
    stages: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "extractor": lambda: extractor.run(feeds),
        "refiner": lambda: refiner.run(inputs),
    }
    for name, call in stages.items():
        for i in range(WARM + int(calls)):
            if i >= WARM:
                mark(0, LABELS[name])
            call()
            if i >= WARM:
                mark(0, LABELS[name] + 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
