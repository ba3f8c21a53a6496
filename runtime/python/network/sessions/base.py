"""What every engine offers: named tensors in, named tensors out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qlot.runtime.bundle.manifest import TensorSpec
from qlot.runtime.errors import SessionError

Tensors = dict[str, NDArray[Any]]
MAX_THREADS = 64  # far above any phone or laptop; a slip such as a frame rate would exhaust the system instead


class Session(Protocol):
    """One graph, loaded and checked against its stage in the manifest."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs, as the manifest lists them."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs, as the manifest lists them."""

    @property
    def engine(self) -> str:
        """Engine, version and device, such as "onnxruntime 1.32.0 CPU"; every printed result names it."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Tensors:
        """Run the graph once.

        Args:
            feeds: exactly the tensors of `inputs`, each with its dtype and shape.

        Raises:
            SessionError: a feed is missing, unknown, or of another dtype or shape; or the engine failed.
        """


def check_threads(name: str, threads: int) -> None:
    """Raise SessionError unless an engine may be asked for that many threads."""
    if not 1 <= threads <= MAX_THREADS:
        raise SessionError(f"{name}: threads must be 1 to {MAX_THREADS}, got {threads}")


def check_tensors(name: str, tensors: Mapping[str, NDArray[Any]], specs: tuple[TensorSpec, ...]) -> None:
    """Raise SessionError unless `tensors` are exactly those of `specs`: names, dtypes and shapes."""
    wanted = {s.name: s for s in specs}
    if tensors.keys() != wanted.keys():
        missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
        raise SessionError(f"{name}: tensors missing: {missing}, unknown: {unknown}")
    for key, spec in wanted.items():
        tensor = tensors[key]
        if not isinstance(tensor, np.ndarray):
            raise SessionError(f"{name}: {key!r} is a {type(tensor).__name__}, wanted a numpy array")
        if tensor.dtype != np.dtype(spec.dtype) or tensor.shape != spec.shape:
            got = f"{tensor.dtype} {tensor.shape}"
            raise SessionError(f"{name}: {key!r} is {got}, wanted {spec.dtype} {spec.shape}")
