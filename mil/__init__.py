"""Run CoreML ML programs anywhere: an interpreter of MIL, the language of an `.mlpackage`, on PyTorch's CPU kernels.

It needs numpy, PyTorch and coremltools, and nothing else of this project:

    from pathlib import Path
    import numpy as np
    from qlot import mil

    program = mil.load(Path("model.mlpackage"))          # or mil.from_model(an MLModel)
    for port in program.inputs:
        print(port.name, port)                           # such as: image float32 (1, 3, 64 to 512, 64 to 512)
    outputs = program.run({"image": np.zeros((1, 3, 128, 128), np.float32)})

`load` reads the saved package as Core ML would, weights file included, compressed weights decoded; `Program.run`
computes it operation by operation in the dtypes that the program declares. So it shows what a conversion or a
compression does to the numbers. It says nothing about speed on Apple hardware, and nothing about the rounding inside
its kernels (see `steps`).

- Models with state: `state = program.new_state()`, then `program.run(feeds, state)`, which replaces its tensors.
- Classifiers return their label and the probabilities of `program.classes`.
- Packages of several functions: `load(path, "name")`.
- `Program.run(..., observe=...)` shows every intermediate; `calibration` uses it to quantise activations without a Mac.

It knows all operations of MIL up to iOS 18 but those that `registry.REFUSED` names, and refuses at load what it does
not know: an operation, one of its inputs, a value of an option. Where coremltools' texts leave open what Core ML does,
the kernel's docstring says what was taken. Random numbers have the right distribution but are not Core ML's.

Errors are `MilError`s: `PackageError` (what cannot be loaded), `OpError` (an operation that is unknown or failed),
`FeedError` (a tensor that the program does not take).
"""

from __future__ import annotations

from qlot.mil.errors import FeedError, MilError, OpError, PackageError
from qlot.mil.ports import Port
from qlot.mil.program import ENGINE, Program, from_model, load

__all__ = ["ENGINE", "FeedError", "MilError", "OpError", "PackageError", "Port", "Program", "from_model", "load"]
