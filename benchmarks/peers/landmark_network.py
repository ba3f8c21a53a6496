"""What a tracked frame costs beside MediaPipe's landmark network.

`python -m qlot.benchmarks.peers.landmark_network BUNDLE` times, in one process and turn about, a bundle's extractor and
one refiner step, and `face_landmark.tflite` out of the MediaPipe wheel under LiteRT with XNNPACK, one thread each.
Crops are given: neither side's crop, detector or post-processing is in it. The engines differ unless the bundle's
target is tflite; the report names them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from qlot.benchmarks.peers.environment import REQUIREMENTS, PeerError, prepare
from qlot.benchmarks.protocol import Protocol, Rounds, host, measure, summary
from qlot.runtime.bundle import Bundle
from qlot.runtime.errors import QlotError
from qlot.runtime.partial import written_whole
from qlot.runtime.recurrence import Gate, steps
from qlot.runtime.stages import BundleStages
from qlot.runtime.state import cold_start

MODEL = "face_landmark/face_landmark.tflite"
EXTRACTOR, FRAME, PEER = "extractor", "extractor + 1 step", "FaceMesh landmark network"
QUICK = Protocol(warm_up=2, rounds=3, calls=5)


@dataclass(frozen=True, eq=False)
class PeerComparison:
    """Block times in ms by variant, from one process."""

    engine: str  # the bundle's
    landmarks: int
    times: dict[str, Rounds]

    @property
    def ratio(self) -> Rounds:
        """Time of the bundle's tracked frame over that of the peer's network, in each round."""
        return self.times[FRAME] / self.times[PEER]


def peer_network(model: Path) -> Callable[[], object]:
    """Return a call that runs the landmark network on a picture of noise, one thread.

    Raises:
        PeerError: LiteRT is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as e:
        raise PeerError("the peer runs under LiteRT: pip install 'qlot-mobile[tflite]'") from e
    interpreter = Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    picture = interpreter.get_input_details()[0]
    values = np.random.default_rng(0).random(picture["shape"], np.float32)
    outputs = interpreter.get_output_details()

    def call() -> object:
        interpreter.set_tensor(picture["index"], values)
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"]) for output in outputs]

    return call


def compare(bundle: Bundle, peer: Callable[[], object], protocol: Protocol) -> PeerComparison:
    """Time a bundle's extractor and its tracked frame, and the peer, round robin."""
    stages, points = BundleStages(bundle), np.array(bundle.manifest.layout.points)
    image = np.random.default_rng(0).random((1, 3, stages.size, stages.size), np.float32)
    state = cold_start(points, stages.size, bundle.manifest.state.hidden[2])
    variants: dict[str, Callable[[], object]] = {
        EXTRACTOR: lambda: stages.extract(image),
        FRAME: lambda: list(steps(stages, stages.extract(image), state, 1, Gate())),
        PEER: peer,
    }
    return PeerComparison(stages.engine, len(points), measure(variants, protocol))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; errors a user can cause are one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a bundle")
    parser.add_argument("--json", type=Path, help="also write all block times")
    parser.add_argument("--environment", type=Path, help="folder of MediaPipe's virtual environment")
    parser.add_argument("--cpu-time", action="store_true", help="processor time of the thread: for a shared host")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 5 calls: to see it run, not to quote")
    options = parser.parse_args(arguments)
    protocol = replace(QUICK if options.quick else Protocol(), cpu_time=options.cpu_time)
    try:
        bundle = Bundle.open(options.bundle)
        peer = peer_network(prepare(options.environment).model(MODEL))
        result = compare(bundle, peer, protocol)
        _report(bundle, protocol, result)
        if options.json is not None:
            with written_whole(options.json) as temporary:
                record = {"host": host(), "engine": result.engine, "protocol": asdict(protocol)}
                record["times_ms"] = {name: times.tolist() for name, times in result.times.items()}
                temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except (QlotError, OSError) as e:
        parser.exit(2, f"error: {e}\n")


def _report(bundle: Bundle, protocol: Protocol, result: PeerComparison) -> None:
    spec = bundle.manifest
    print(f"host: {host()}")
    print(f"bundle: {spec.model.preset}, {spec.scheme.name}, {result.landmarks} landmarks; {result.engine}, 1 thread")
    print(f"peer: {Path(MODEL).name} of {REQUIREMENTS[0]}, 468 landmarks; LiteRT with XNNPACK, 1 thread")
    clock = "processor time" if protocol.cpu_time else "elapsed time"
    print(f"{clock}, {protocol.rounds} rounds of {protocol.calls} calls, median (range) over the rounds")
    for name, times in result.times.items():
        print(f"{name}: {summary(times)} ms")
    print(f"{FRAME} / {PEER}: {summary(result.ratio)}")


if __name__ == "__main__":
    main()
