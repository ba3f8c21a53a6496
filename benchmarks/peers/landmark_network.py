"""What a tracked frame costs beside MediaPipe's landmark network.

`python -m qlot.benchmarks.peers.landmark_network BUNDLE [BUNDLE ...]` times, in one process and turn about, extractor
and one refiner step of each bundle, and `face_landmark.tflite` out of the MediaPipe wheel under LiteRT with XNNPACK,
one thread each. Crops are given: neither side's crop, detector or post-processing is in it. A bundle's graphs are
called in two ways: by the Python runtime, with its checks and the arithmetic between them, and bare, as the peer's is.
The engines differ unless a bundle's target is tflite; the report names them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from qlot.benchmarks.peers.bare import bare_stages, tflite_graph
from qlot.benchmarks.peers.environment import REQUIREMENTS, prepare
from qlot.benchmarks.protocol import QUICK, Rounds, TimingProtocol, measure, summary
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import QlotError
from qlot.runtime.host import host
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate, steps
from qlot.runtime.network.state import cold_start
from qlot.runtime.partial import written_whole

MODEL, INPUT, SIZE = "face_landmark/face_landmark.tflite", "input_1", 192
PEER = "FaceMesh landmark network"
EXTRACTOR, GRAPHS, FRAME = "extractor, bare", "extractor + 1 step, bare", "extractor + 1 step, Python runtime"


@dataclass(frozen=True, eq=False)
class PeerComparison:
    """Block times in ms, from one process.

    Attributes:
        peer: of the peer's network.
        bundles: of each bundle, by what was called.
    """

    peer: Rounds
    bundles: tuple[dict[str, Rounds], ...]

    def ratio(self, bundle: int, what: str) -> Rounds:
        """Return the time of a bundle's call over that of the peer's network, in each round."""
        return self.bundles[bundle][what] / self.peer


def peer_network(model: Path) -> Callable[[], object]:
    """Return a call that runs the landmark network on a picture of noise.

    Raises:
        PeerError: LiteRT is not installed.
    """
    network = tflite_graph(model.read_bytes())
    picture = np.random.default_rng(0).random((1, SIZE, SIZE, 3), np.float32)
    return lambda: network({INPUT: picture})


def compare(bundles: Sequence[Bundle], peer: Callable[[], object], protocol: TimingProtocol) -> PeerComparison:
    """Time each bundle's extractor and its tracked frame, and the peer, round robin."""
    calls = [_calls(bundle) for bundle in bundles]
    flat = {f"{i} {what}": call for i, own in enumerate(calls) for what, call in own.items()}
    times = measure({PEER: peer, **flat}, protocol)
    named = tuple({what: times[f"{i} {what}"] for what in own} for i, own in enumerate(calls))
    return PeerComparison(times[PEER], named)


def _calls(bundle: Bundle) -> dict[str, Callable[[], object]]:
    stages, points = BundleNetwork(bundle), np.array(bundle.manifest.layout.points)
    image = np.random.default_rng(0).random((1, 3, stages.size, stages.size), np.float32)
    state = cold_start(points, stages.size, bundle.manifest.state.hidden[2])
    extract, refine = bare_stages(bundle)
    inputs = {"landmarks": state.landmarks, "hidden": state.hidden}
    return {
        EXTRACTOR: lambda: extract({"image": image}),
        GRAPHS: lambda: refine({**extract({"image": image}), **inputs}),
        FRAME: lambda: list(steps(stages, stages.extract(image), state, 1, Gate())),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; errors a user can cause are one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="folder of a bundle")
    parser.add_argument("--json", type=Path, help="also write all block times")
    parser.add_argument("--environment", type=Path, help="folder of MediaPipe's virtual environment")
    parser.add_argument("--cpu-time", action="store_true", help="processor time of the thread: for a shared host")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 5 calls: to see it run, not to quote")
    options = parser.parse_args(arguments)
    protocol = replace(QUICK if options.quick else TimingProtocol(), cpu_time=options.cpu_time)
    try:
        bundles = [Bundle.open(path) for path in options.bundles]
        peer = peer_network(prepare(options.environment).model(MODEL))
        result = compare(bundles, peer, protocol)
        _report(bundles, protocol, result)
        if options.json is not None:
            with written_whole(options.json) as temporary:
                record = {"host": host(), "protocol": asdict(protocol), "peer_ms": result.peer.tolist()}
                record["bundles_ms"] = [
                    {"bundle": _name(bundle), **{what: times.tolist() for what, times in own.items()}}
                    for bundle, own in zip(bundles, result.bundles, strict=True)
                ]
                temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except (QlotError, OSError) as e:
        parser.exit(2, f"error: {e}\n")


def _report(bundles: Sequence[Bundle], protocol: TimingProtocol, result: PeerComparison) -> None:
    clock = "processor time" if protocol.cpu_time else "elapsed time"
    print(f"host: {host()}")
    print(f"{clock}, {protocol.rounds} rounds of {protocol.calls} calls, median (range) over the rounds, 1 thread")
    print(f"{PEER}, {REQUIREMENTS[0]}, 468 landmarks, LiteRT with XNNPACK: {summary(result.peer)} ms")
    for i, bundle in enumerate(bundles):
        print(_name(bundle))
        for what, times in result.bundles[i].items():
            print(f"  {what}: {summary(times)} ms, {summary(result.ratio(i, what))} of the peer")


def _name(bundle: Bundle) -> str:
    spec = bundle.manifest
    count = len(spec.layout.points)
    return f"{spec.model.preset}, {spec.target} {spec.scheme.name}, {count} landmarks, {BundleNetwork(bundle).engine}"


if __name__ == "__main__":
    main()
