"""Engines: one module each, imported when a bundle of its target is opened."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import StageName, StageSpec, Target
from qlot.runtime.errors import BundleError, SessionError
from qlot.runtime.extras import pip_line
from qlot.runtime.network.sessions.base import Session

# Target -> module of this package with `load(data, stage, name, threads) -> Session`.
ENGINES: dict[Target, str] = {"onnx": "onnx", "tflite": "tflite", "coreml": "coreml"}
EXTRAS: dict[Target, str] = {"onnx": "export", "tflite": "tflite", "coreml": "coreml"}


def open_session(
    target: Target, data: bytes | Mapping[str, bytes], stage: StageSpec, name: str, threads: int = 1
) -> Session:
    """Load one graph into the engine of its target.

    Args:
        target: the bundle's target.
        data: the graph file's verified bytes; for coreml those of the folder's files, by path inside.
        stage: the interface the graph must have.
        name: stage name, for messages.
        threads: threads inside one operator.

    Raises:
        SessionError: no engine, the engine refuses the graph, or its interface is not the manifest's.
    """
    try:
        engine = import_module(f"{__name__}.{ENGINES[target]}")
    except ImportError as e:
        raise SessionError(
            f"{name}: the engine of target {target!r} is not installed: {pip_line(EXTRAS[target])} ({e})"
        ) from e
    session: Session = engine.load(data, stage, name, threads)
    return session


def open_stage(bundle: Bundle, stage: StageName, threads: int = 1) -> Session:
    """Load a stage of a bundle into the engine of its target, `threads` threads inside one operator.

    Raises:
        BundleError: the bundle has no such stage.
        IntegrityError: its file, or one of its folder's, has changed.
        SessionError: no engine, or the graph is refused.
    """
    spec = bundle.manifest.stages.get(stage)
    if spec is None:
        raise BundleError(f"this bundle has no stage {stage!r}; it has {', '.join(bundle.manifest.stages)}.")
    return open_session(bundle.manifest.target, bundle.graph(spec), spec, stage, threads)
