"""Executed instructions of the engines' ARM kernels: `python -m qlot.benchmarks.arm.counting BUNDLE [BUNDLE ...]`.

A cost that depends on no machine: the same bundle executes the same instructions on a busy laptop and in CI, so that a
regression shows without a quiet machine or a phone. The aarch64 builds of ONNX Runtime and LiteRT run under qemu-user
with a plugin of ours; a frame is the extractor and one iteration, with what the Python runtime's session adds. What it
cannot say: cycles. An instruction may take a quarter of one or wait for memory for a hundred, and no cache is modelled.

Exits with 2 if it cannot be run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from qlot.benchmarks.arm.counted import LABELS
from qlot.benchmarks.arm.environment import Environment, built, default_cache, prepare, requirements
from qlot.benchmarks.arm.errors import ArmError, ArmUnavailable
from qlot.benchmarks.arm.processors import PROCESSORS, Processor
from qlot.benchmarks.peers.environment import last_line
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import QlotError

SOURCE, COUNTED = Path(__file__).with_name("instructions.c"), "qlot.benchmarks.arm.counted"
CALLS = 5  # of each stage; Python's collector may run in one of them, and the least counts
_LINE = re.compile(r"^COUNT (\d+)((?: \d+){6})$", re.M)


@dataclass(frozen=True)
class Instructions:
    """Executed instructions of one call.

    Attributes:
        total: all.
        vector: floating-point and SIMD arithmetic.
        multiply: vector multiply-accumulates, of floats and of integers.
        load: from memory.
        store: to memory.
        branch: jumps and calls.
    """

    total: int
    vector: int
    multiply: int
    load: int
    store: int
    branch: int

    def __add__(self, other: Instructions) -> Instructions:
        return Instructions(*(a + b for a, b in zip(self.values, other.values, strict=True)))

    def __sub__(self, other: Instructions) -> Instructions:
        return Instructions(*(a - b for a, b in zip(self.values, other.values, strict=True)))

    @property
    def values(self) -> tuple[int, ...]:
        """All counts, in the order of the fields."""
        return tuple(asdict(self).values())

    @property
    def multiply_share(self) -> float:
        """Multiply-accumulates over all: what is useful of what is executed."""
        return self.multiply / self.total


def count(bundle: Bundle, processor: Processor, environment: Environment) -> dict[str, Instructions]:
    """Count what a call of each stage executes, less what two marks in a row do.

    Args:
        bundle: with a golden sequence.
        processor: to emulate.
        environment: prepared for the bundle's target, with a qemu that takes the plugin (`counting_environment`).

    Returns:
        By stage, "extractor" and "refiner": one iteration.

    Raises:
        ArmError: it does not run.
    """
    arguments = ["-m", COUNTED, str(bundle.path.resolve()), str(CALLS)]
    code, text = environment.run(processor, arguments)
    marks = [(int(label), Instructions(*map(int, values.split()))) for label, values in _LINE.findall(text)]
    if code or len(marks) != 2 * CALLS * len(LABELS):
        raise ArmError(f"{bundle.path} is not counted on qemu's {processor.model}: {last_line(_LINE.sub('', text))}")
    least = {}
    for name, label in LABELS.items():
        windows = [b[1] - a[1] for a, b in pairwise(marks) if (a[0], b[0]) == (label, label + 1)]
        least[name] = min(windows, key=lambda found: found.total)
    nothing = least.pop("nothing")
    return {name: found - nothing for name, found in least.items()}


def counting_environment(bundle: Bundle, cache: Path | None = None) -> Environment:
    """Return the environment for a bundle's engine, with qemu counting.

    Raises:
        ArmUnavailable: no qemu that takes plugins, or no compiler.
        ArmError: see `prepare`.
    """
    folder = (cache or default_cache()).absolute()
    qemu = _emulator()
    plugin = built(folder / f"counting-{_hash()}", _build) / "instructions.so"
    environment = prepare(bundle.manifest.target, cache)
    return replace(environment, qemu=qemu, options=("-plugin", str(plugin)))


def _emulator() -> Path:
    """Find qemu-user 7, not static: the versions after it have another interface for plugins, static ones none."""
    found = shutil.which("qemu-aarch64")
    if not found:
        raise ArmUnavailable("no qemu-aarch64 that takes plugins: on Debian 12, apt-get install qemu-user")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    if not re.search(r"version 7\.", said):
        raise ArmUnavailable(f"{found} is {said.splitlines()[:1]}; the plugin is for qemu-user 7, that of Debian 12")
    return Path(found)


def _hash() -> str:
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]


def _build(folder: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise ArmUnavailable("no C compiler for the plugin: on Debian, apt-get install gcc libc6-dev")
    command = [compiler, "-std=c11", "-O2", "-shared", "-fPIC", "-o", str(folder / "instructions.so"), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ArmUnavailable(f"the plugin cannot be compiled: {last_line(done.stderr)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="folder of an onnx or tflite bundle")
    parser.add_argument("--cpu", choices=PROCESSORS, default="dotprod", help="processor to emulate")
    parser.add_argument("--cache", type=Path, help=f"folder of what is downloaded; default: {default_cache()}")
    parser.add_argument("--json", action="store_true", help="print counts as JSON instead")
    options = parser.parse_args(arguments)
    try:
        bundles = [_countable(path) for path in options.bundles]
        found = [
            count(bundle, PROCESSORS[options.cpu], counting_environment(bundle, options.cache)) for bundle in bundles
        ]
    except (QlotError, OSError) as e:
        parser.exit(2, f"error: {e}\n")
    if options.json:
        print(json.dumps([{k: asdict(v) for k, v in one.items()} for one in found], indent=1))
        return
    print(f"executed instructions, millions; qemu's {PROCESSORS[options.cpu].model}; emulated: no cycles, no time")
    print(f"{'':<12}" + "".join(f"{name:>11}" for name in (*Instructions.__dataclass_fields__, "multiply %")))
    for bundle, stages in zip(bundles, found, strict=True):
        spec = bundle.manifest
        print(f"{bundle.path}: {spec.model.preset} {spec.layout.name} {spec.target} {spec.scheme.name}")
        for name, one in {**stages, "frame, K = 1": stages["extractor"] + stages["refiner"]}.items():
            values = "".join(f"{value / 1e6:>11.3f}" for value in one.values)
            print(f"{name:<12}{values}{one.multiply_share:>11.0%}")


def _countable(path: Path) -> Bundle:
    bundle = Bundle.open(path)
    requirements(bundle.manifest.target)
    if not bundle.manifest.golden.included:
        raise ArmError(f"{path} has no golden sequence, whose frame is counted: export it without --no-golden.")
    return bundle


if __name__ == "__main__":
    main()
