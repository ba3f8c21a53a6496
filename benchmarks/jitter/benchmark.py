"""One run of the benchmark, from a bundle's folder to results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from qlot.benchmarks.jitter.clips import RenderedClip, digest
from qlot.benchmarks.jitter.methods import methods
from qlot.benchmarks.jitter.peer import PeerTrack, peer_track
from qlot.benchmarks.jitter.points import point_set
from qlot.benchmarks.jitter.protocol import JitterProtocol, load_protocol
from qlot.benchmarks.jitter.rendering import clips_of
from qlot.benchmarks.jitter.report import record
from qlot.benchmarks.jitter.run import Followers, MethodScores, run
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.host import host
from qlot.runtime.network.bundle_network import BundleNetwork


@dataclass(frozen=True)
class JitterRequest:
    """What the user asked for."""

    bundle: Path
    data: Path  # holds ict/ict_model.npz and layouts/mediapipe478.json
    clips: Path  # where rendered clips are kept
    predictions: Path  # where peers' landmarks are kept, in a folder for each
    peers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> arguments of its command
    threads: int = 1


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A finished run."""

    results: list[MethodScores]
    protocol: JitterProtocol
    about: dict[str, Any]

    @property
    def title(self) -> str:
        """What was run, in a line or two."""
        about = self.about
        peer = f";\n{about['peer']}" if about["peer"] else ""
        return (
            f"{about['preset']}, {about['layout']}, {about['target']} {about['scheme']}, {about['engine']}{peer}\n"
            f"faces: {len(self.protocol.faces)}, points: {about['points']}, frames: {about['frames'][:12]}"
        )

    def record(self) -> dict[str, Any]:
        """Return what `results.json` holds."""
        return record(self.results, self.protocol, self.about)


def benchmark(request: JitterRequest, progress: Callable[[str], None]) -> Benchmark:
    """Render what is not rendered yet, run all methods, measure.

    Raises:
        QlotError: the bundle, its layout, the data, OpenGL or the peer cannot be used.
    """
    protocol, bundle = load_protocol(), Bundle.open(request.bundle)
    spec = bundle.manifest
    points = point_set(spec.layout.name)
    stages = BundleNetwork(bundle, request.threads)
    clips = clips_of(protocol, request.data, request.clips, progress)
    versions: dict[str, str] = {}

    def peer(clip: RenderedClip, name: str) -> PeerTrack:
        found = peer_track(clip, request.predictions / name.lower(), request.peers[name])
        versions[name] = found.version
        return found

    follow = Followers(spec, stages, points, {name: partial(peer, name=name) for name in request.peers})
    results = run(clips, methods(protocol, spec.steady, list(request.peers)), follow, points, progress)
    about = {
        "preset": spec.model.preset,
        "checkpoint": spec.model.checkpoint,
        "manifest_sha256": bundle.manifest_sha256,
        "layout": spec.layout.name,
        "target": spec.target,
        "scheme": spec.scheme.name,
        "engine": stages.engine,
        "peer": "; ".join(versions.values()),
        "host": host(),
        "points": len(points.layout),
        "frames": digest(clips),
    }
    return Benchmark(results, protocol, about)
