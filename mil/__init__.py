"""Run CoreML ML programs anywhere: an interpreter of MIL, the language of an `.mlpackage`, on PyTorch's CPU kernels.

It reads the saved package as Core ML would, weights file included, and computes it operation by operation in the
dtypes that the program declares, so it shows what a conversion or a compression does to the numbers. It says nothing
about speed on Apple hardware, and nothing about the rounding inside its kernels (see `steps`).

    program = load(Path("refiner.mlpackage"))
    outputs = program.run({"landmarks": ..., "hidden": ...})

`Program.run(..., observe=...)` shows every intermediate; `calibration` uses it to quantise activations without a Mac.
"""

from __future__ import annotations

from qlot.mil.errors import FeedError, MilError, OpError, PackageError
from qlot.mil.ports import Port
from qlot.mil.program import ENGINE, Program, from_model, load

__all__ = ["ENGINE", "FeedError", "MilError", "OpError", "PackageError", "Port", "Program", "from_model", "load"]
