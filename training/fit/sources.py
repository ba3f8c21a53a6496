"""From the sources that a recipe names to opened ones."""

from __future__ import annotations

from pathlib import Path

from qlot.model.layout import load_layout
from qlot.training.data.clip import DataError, Source
from qlot.training.data.sources.faceless import Faceless
from qlot.training.data.sources.stills import LabelledFaces
from qlot.training.data.sources.synthetic import SyntheticFaces
from qlot.training.data.sources.video import LabelledVideo
from qlot.training.data.sources.w300 import W300
from qlot.training.data.sources.wflw import Wflw
from qlot.training.data.sources.wflw_v import WflwV
from qlot.training.fit.recipe import SourceSpec

ICT = "ict/ict_model.npz"
TEXTURES = 500  # beside the faces that are made faceless


def open_source(spec: SourceSpec, data: Path, rendered: Path | None = None) -> Source:
    """Open one source.

    Args:
        spec: what and where.
        data: folder that relative paths are meant in.
        rendered: the same for synthetic faces, which are rendered and not fetched; by default `data`.

    Raises:
        DataError: material that is not there or damaged, by name.
    """
    path = data / spec.path
    match spec.kind:
        case "faces":
            return LabelledFaces(path, spec.labels, offset=spec.offset)
        case "video":
            return LabelledVideo(path, spec.start, spec.stop, spec.identity)
        case "synthetic":
            return SyntheticFaces((rendered or data) / spec.path, data / ICT)
        case "faceless":
            return Faceless(load_layout(spec.labels), LabelledFaces(path, spec.labels), TEXTURES)
        case "wflw":
            return Wflw(path)
        case "wflw-v":
            return WflwV(path)
        case "300w":
            return W300(path)


def open_sources(specs: tuple[SourceSpec, ...], data: Path, rendered: Path | None = None) -> list[tuple[Source, float]]:
    """Open all sources with their shares."""
    if not data.is_dir():
        raise DataError(f"{data} is not a folder: give the one that holds the training material with --data")
    return [(open_source(spec, data, rendered), spec.share) for spec in specs]
