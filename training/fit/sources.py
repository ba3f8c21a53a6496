"""From the sources that a recipe names to opened ones."""

from __future__ import annotations

from pathlib import Path

from qlot.model.layout import load_layout
from qlot.training.data.clip import DataError, Source
from qlot.training.data.sources.every_layout import EveryLayout
from qlot.training.data.sources.faceless import Faceless
from qlot.training.data.sources.moving_eyes import MovingEyes
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
        rendered: the same for what is made and not fetched, synthetic faces and tables; by default `data`.

    Raises:
        DataError: material that is not there or damaged, by name.
    """
    path, table = data / spec.path, (rendered or data) / spec.table if spec.table else None
    match spec.kind:
        case "faces":
            faces: Source = LabelledFaces(path, spec.labels, spec.offset, table)
            if spec.moving_eyes:
                faces = MovingEyes(faces, spec.moving_eyes)
            return EveryLayout(faces) if spec.every_layout else faces
        case "video":
            video = LabelledVideo(path, spec.start, spec.stop, spec.identity, spec.offset, table)
            return EveryLayout(video) if spec.every_layout else video
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
    whole = [one for spec in specs for one in _expanded(spec, data)]
    return [(open_source(spec, data, rendered), spec.share) for spec in whole]


def _expanded(spec: SourceSpec, data: Path) -> list[SourceSpec]:
    """Return one spec for each video that a * stands for; `table` is then the folder of theirs."""
    if "*" not in spec.path:
        return [spec]
    found = sorted(p.relative_to(data) for p in data.glob(spec.path))
    if not found:
        raise DataError(f"nothing in {data} matches {spec.path!r}")
    tables = {p: str(Path(spec.table) / f"{p.stem}.npz") if spec.table else None for p in found}
    share = spec.share / len(found)
    return [spec.model_copy(update={"path": str(p), "table": tables[p], "share": share}) for p in found]
