"""A bundle's golden sequence on the engines' ARM kernels: `python -m qlot.benchmarks.arm BUNDLE [BUNDLE ...]`.

The aarch64 builds of ONNX Runtime and LiteRT run under qemu-user on this machine. What the replay shows is numerics;
an emulator's times say nothing about a phone's. Exits with 1 if a replay leaves its bundle's tolerance, with 2 if it
cannot be run.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

from qlot.benchmarks.arm.environment import Environment, default_cache, prepare, requirements
from qlot.benchmarks.arm.processors import PROCESSORS
from qlot.benchmarks.arm.recording import record
from qlot.benchmarks.arm.replay import ArmReport, emulate, judge
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import ParityError, QlotError

COLUMNS = ("median px", "p99 px", "max px", "result px", "ln sigma", "here p99", "here max")
LEGEND = """result: the largest after a frame's last step. here: px from this machine's own replay, after any step
numerics only: emulated, no timing"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="folder of an onnx or tflite bundle")
    parser.add_argument("--cpu", choices=PROCESSORS, action="append", help="processor to emulate; default: each")
    parser.add_argument("--cache", type=Path, help=f"folder of what is downloaded; default: {default_cache()}")
    options = parser.parse_args(arguments)
    try:
        bundles = [_replayable(path) for path in options.bundles]
        environments = {
            target: prepare(target, options.cache) for target in sorted({b.manifest.target for b in bundles})
        }
        passed = [
            _replay(bundle, environments[bundle.manifest.target], options.cpu or list(PROCESSORS)) for bundle in bundles
        ]
    except ParityError as e:
        parser.exit(1, f"error: {e}\n")
    except (QlotError, OSError) as e:
        parser.exit(2, f"error: {e}\n")
    print(LEGEND)
    if not all(passed):
        parser.exit(1, f"error: {passed.count(False)} of {len(passed)} bundles leave their tolerance\n")


def _replayable(path: Path) -> Bundle:
    """Open a bundle, and refuse before anything is downloaded what could not be replayed."""
    bundle = Bundle.open(path)
    requirements(bundle.manifest.target)
    if not bundle.manifest.golden.included:
        raise ParityError(f"{path} has no golden sequence: export it without --no-golden.")
    return bundle


def _replay(bundle: Bundle, environment: Environment, processors: Sequence[str]) -> bool:
    """Replay a bundle here and on each processor, print a line each, and return whether all keep to the tolerance."""
    spec, host = bundle.manifest, record(bundle)
    tolerance = spec.golden.tolerance
    assert tolerance is not None  # the host's recording has checked it
    print(f"{bundle.path}: {spec.model.preset}, {spec.target}, {spec.scheme.name}, {spec.golden.frames} frames")
    print(f"engine: {host.engine}; {_emulator(environment)}, {', '.join(requirements(spec.target))}")
    print(f"against float32 PyTorch; allowed: result {tolerance.px:g} px, ln sigma {tolerance.log_sigma:g}")
    print(f"{'':<38}" + "".join(f"{column:>11}" for column in COLUMNS))
    passed = _print_row(f"{host.machine}, this machine", judge(bundle, host, host))
    for name in processors:
        recording = emulate(bundle, PROCESSORS[name], environment)
        label = f"{recording.machine}, {name} ({PROCESSORS[name].model})"
        passed &= _print_row(label, judge(bundle, recording, host))
    print()
    return passed


def _print_row(label: str, report: ArmReport) -> bool:
    found, beside = report.golden, report.host
    values = (
        found.median_px, found.p99_px, found.max_px, found.max_result_px, found.sigma, beside.p99_px, beside.max_px,
    )  # fmt: skip
    mark = "" if found.passed else "  BEYOND THE TOLERANCE"
    print(f"{label:<38}" + "".join(f"{value:>11.2e}" for value in values) + mark, flush=True)
    return found.passed


def _emulator(environment: Environment) -> str:
    done = subprocess.run([environment.qemu, "--version"], capture_output=True, text=True, check=False)
    return f"{done.stdout.splitlines()[0]}, Python {environment.version}"


if __name__ == "__main__":
    main()
