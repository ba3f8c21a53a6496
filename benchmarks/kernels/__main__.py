"""Do a bundle's numbers depend on the processor? `python -m qlot.benchmarks.kernels BUNDLE [BUNDLE ...]`.

The golden sequence is replayed here and on emulated processors: x86-64 with SSE4 only, x86-64 with AVX2 and no VNNI,
ARM with plain NEON, with dot products, with int8 matrix products. Exits with 1 if one disagrees with this machine by
more than 0.05 px, with 2 if it cannot be run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from qlot.benchmarks.arm.environment import default_cache
from qlot.benchmarks.kernels.agreement import ALLOWED
from qlot.benchmarks.kernels.matrix import KERNELS, matrix
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import ParityError, QlotError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="folder of an onnx or tflite bundle")
    parser.add_argument("--kernel", choices=KERNELS, action="append", help="processor to emulate; default: each")
    parser.add_argument("--cache", type=Path, help=f"folder of what is downloaded for ARM; default: {default_cache()}")
    options = parser.parse_args(arguments)
    print(f"px from this machine's replay, over all frames and steps; allowed for the largest: {ALLOWED:g}")
    print(f"{'kernel':<9}{'median':>11}{'largest':>11}  bundle", flush=True)
    failed = 0
    try:
        for cell in matrix([Bundle.open(p) for p in options.bundles], options.kernel or KERNELS, options.cache):
            found = cell.agreement
            failed += not found.passed
            values = "".join(f"{v:>11.2e}" for v in (found.median, found.largest))
            print(f"{cell.kernel:<9}{values}  {cell.bundle.path}{'' if found.passed else '  DISAGREES'}", flush=True)
    except ParityError as e:
        parser.exit(1, f"error: {e}\n")
    except (QlotError, OSError) as e:
        parser.exit(2, f"error: {e}\n")
    if failed:
        parser.exit(1, f"error: {failed} replays disagree with this machine's\n")


if __name__ == "__main__":
    main()
