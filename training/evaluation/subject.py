"""What is evaluated: PyTorch weights, which serve any layout, or an exported bundle, which has one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import torch

from qlot.model.checkpoint import CheckpointError, checkpoint_metadata, file_sha256, load_checkpoint
from qlot.model.layout import LayoutError, load_layout
from qlot.model.torch_network import ENGINE, TorchNetwork
from qlot.model.weights import DEFAULT, shipped_weights, weights_path
from qlot.runtime.bundle.defaults import default_spec
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import LayoutSpec, TrackerSpec
from qlot.runtime.bundle.stated_confidence import ANY_FACE, stated_confidence
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Network
from qlot.training.data.clip import DataError
from qlot.training.evaluation.results import SubjectInfo


@dataclass(frozen=True, eq=False)
class ReadyNetwork:
    """A network for one layout, ready to run, and what a tracker needs to know of it."""

    spec: TrackerSpec
    stages: Network
    fitted: bool  # whether the confidence was fitted; if not, the tracker takes every plausible crop for a face

    @property
    def layout(self) -> LayoutSpec:
        """The landmarks."""
        return self.spec.layout


class Subject(Protocol):
    """Weights or a bundle."""

    info: SubjectInfo

    def network(self, layout: str) -> ReadyNetwork:
        """Return the network for a layout.

        Raises:
            DataError: it has no such layout.
        """


class WeightsSubject:
    """PyTorch weights: each layout asked for is encoded once."""

    def __init__(self, path: Path, name: str) -> None:
        try:
            self._model, self._metadata = load_checkpoint(path), checkpoint_metadata(path)
        except CheckpointError as e:
            raise DataError(str(e)) from e
        self.network = cache(self._network)
        self.info = SubjectInfo(
            kind="weights",
            name=name,
            sha256=file_sha256(path),
            weights_sha256=file_sha256(path),
            preset=self._model.config.preset,
            parameters=sum(p.numel() for p in self._model.parameters()),
            engine=ENGINE,
            scheme="fp32",
            layout=None,
        )

    def _network(self, layout: str) -> ReadyNetwork:
        try:
            landmarks = load_layout(layout)
        except LayoutError as e:
            raise DataError(str(e)) from e
        config, confidence = self._model.config, stated_confidence(self._metadata, layout)
        spec = LayoutSpec.model_validate(landmarks.spec())
        tracker = default_spec(config.image_size, config.hidden_width, spec, confidence or ANY_FACE)
        return ReadyNetwork(tracker, TorchNetwork(self._model, landmarks), confidence is not None)


class BundleSubject:
    """An exported bundle."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        bundle = Bundle.open(folder)
        manifest = bundle.manifest
        stages = BundleNetwork(bundle, threads)
        self._network = ReadyNetwork(manifest, stages, fitted=True)
        self.info = SubjectInfo(
            kind="bundle",
            name=folder.name,
            sha256=bundle.manifest_sha256,
            weights_sha256=manifest.model.checkpoint_sha256,
            preset=manifest.model.preset,
            parameters=manifest.model.parameters,
            engine=stages.engine,
            scheme=manifest.scheme.name,
            layout=manifest.layout.name,
        )

    def network(self, layout: str) -> ReadyNetwork:
        """Return the bundle's network, if the layout is its own."""
        own = self._network.layout.name
        if layout != own:
            raise DataError(
                f"the bundle {self.info.name} has the layout {own}, the labels are {layout}: export it with "
                f"--layout {layout}, or evaluate the weights it was made from."
            )
        return self._network


def open_subject(name: str, threads: int = 1) -> Subject:
    """Open a bundle's folder, a weights file, or shipped weights by name ("default" for the default ones).

    Raises:
        DataError: it is none of these, or the weights cannot be read.
        BundleError: the folder is no usable bundle.
    """
    path = Path(name)
    torch.set_num_threads(threads)
    if name == "default" or name in shipped_weights():
        shipped = DEFAULT if name == "default" else name
        return WeightsSubject(weights_path(shipped), shipped)
    if path.is_dir():
        return BundleSubject(path, threads)
    if path.is_file():
        return WeightsSubject(path, path.name)
    raise DataError(
        f"{name}: there is no such bundle folder or weights file, and no shipped weights of that name: "
        f"default, {', '.join(shipped_weights())}."
    )
