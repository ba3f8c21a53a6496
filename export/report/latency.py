"""How long a bundle's stages take on the machine that exports: a hint, for a phone says something else."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlot.runtime.bundle.golden import GoldenSequence
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.pixels import network_input
from qlot.runtime.network.state import State

UNTIMED, TIMED = 5, 40  # calls


@dataclass(frozen=True)
class HostLatency:
    """Median and 90th percentile of the calls of each stage, ms, on one thread of this host."""

    host: str
    engine: str
    stages: dict[str, tuple[float, float]]


def measure_latency(stages: BundleNetwork, run: GoldenSequence) -> HostLatency:
    """Time extractor and refiner in turn, opened for one thread, on a tracked frame of a recorded run."""
    at = min(1, len(run.crops) - 1)
    image = network_input(run.crops[at])
    features, state = stages.extract(image), State(run.landmarks[at, run.steps[at] - 1][None], run.hidden[at][None])
    times = [
        (_milliseconds(lambda: stages.extract(image)), _milliseconds(lambda: stages.refine(features, state)))
        for _ in range(UNTIMED + TIMED)
    ][UNTIMED:]
    named = dict(zip(("extractor", "refiner"), np.array(times).T, strict=True))
    found = {name: (float(np.median(x)), float(np.quantile(x, 0.9))) for name, x in named.items()}
    return HostLatency(_host(), stages.engine, found)


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _host() -> str:
    info = Path("/proc/cpuinfo")
    names = [x.partition(":")[2].strip() for x in info.read_text().splitlines() if x.startswith("model name")] if (
        info.exists()
    ) else []  # fmt: skip
    return f"{names[0] if names else platform.processor() or platform.machine()}, {platform.system()}"
