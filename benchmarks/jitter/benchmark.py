"""One run of the benchmark, from a bundle's folder to results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlot.benchmarks.jitter.clips import RenderedClip, digest
from qlot.benchmarks.jitter.methods import methods
from qlot.benchmarks.jitter.peer import peer_track
from qlot.benchmarks.jitter.points import point_set
from qlot.benchmarks.jitter.protocol import JitterProtocol, load_protocol
from qlot.benchmarks.jitter.rendering import clips_of
from qlot.benchmarks.jitter.report import record
from qlot.benchmarks.jitter.run import Followers, MethodScores, run
from qlot.runtime.bundle.folder import MANIFEST, Bundle
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.training.data.clip import Array


@dataclass(frozen=True)
class JitterRequest:
    """What the user asked for."""

    bundle: Path
    data: Path  # holds ict/ict_model.npz and layouts/mediapipe478.json
    clips: Path  # where rendered clips are kept
    predictions: Path  # where the peer's landmarks are kept
    peer: str | None = None  # name of the tracker that is compared
    landmarker: Path | None = None  # model of FaceLandmarker, if that is the peer
    environment: Path | None = None  # of the peer
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
    versions: set[str] = set()

    def peer(clip: RenderedClip) -> Array:
        options = ["--environment", str(request.environment)] if request.environment else []
        options += ["--refined"] if not request.landmarker else []
        options += ["--landmarker", str(request.landmarker)] if request.landmarker else []
        found = peer_track(clip, request.predictions, options)
        versions.add(found.version)
        return found.landmarks

    follow = Followers(spec, stages, points, peer if request.peer else None)
    results = run(clips, methods(protocol, spec.steady, request.peer), follow, points, progress)
    about = {
        "preset": spec.model.preset,
        "checkpoint": spec.model.checkpoint,
        "manifest_sha256": hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest(),
        "layout": spec.layout.name,
        "target": spec.target,
        "scheme": spec.scheme.name,
        "engine": stages.engine,
        "peer": ", ".join(sorted(versions)),
        "points": len(points.layout),
        "frames": digest(clips),
    }
    return Benchmark(results, protocol, about)
