"""Write a bundle: into a temporary neighbour first, opened, replayed, and only then renamed into place."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from qlot.export.errors import ExportError
from qlot.export.graphs.stages import Stage
from qlot.export.targets.base import Graph, Packed
from qlot.runtime.bundle.folder import MANIFEST
from qlot.runtime.bundle.golden import GoldenSequence, write_golden
from qlot.runtime.bundle.manifest import FileSpec, GoldenSpec, Manifest, StageName, StageSpec, ToleranceSpec
from qlot.runtime.legal import LEGAL, legal_text
from qlot.runtime.partial import made_folders, named


@contextmanager
def replacing(out: Path, force: bool) -> Iterator[Path]:
    """Yield a new folder that becomes `out` when the block ends, and vanishes when it fails.

    Raises:
        ExportError: `out` exists and `force` is not given, or it is something other than a bundle.
    """
    check_free(out, force)
    with _beside(out) as temporary:
        fresh = temporary / "new"
        fresh.mkdir()
        yield fresh
        check_free(out, force)
        if out.exists():
            out.rename(temporary / "old")
        fresh.rename(out)


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`. A failing block takes along the folders above that were made for it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(made_folders(out.parent))
            temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        except OSError as e:
            raise ExportError(f"cannot write beside {out}: {e.strerror}. Choose another place with --out.") from e
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        yield temporary


def check_place(out: Path, force: bool) -> None:
    """Try whether a bundle can be written at `out`, and leave everything as it was.

    Raises:
        ExportError: as `replacing`.
    """
    check_free(out, force)
    try:
        with made_folders(out.parent, keep=False), tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent):
            pass
    except OSError as e:
        raise ExportError(f"cannot write beside {out}: {e.strerror}. Choose another place with --out.") from e


def check_free(out: Path, force: bool) -> None:
    """Raise ExportError unless a bundle may be written at `out`."""
    if not out.exists() and not out.is_symlink():
        return
    if not force:
        raise ExportError(f"{out} exists already: choose another place with --out, or replace it with --force.")
    empty = out.is_dir() and next(out.iterdir(), None) is None
    if out.is_symlink() or not (empty or (out / MANIFEST).is_file()):
        raise ExportError(f"{out} is not a bundle, so --force does not replace it: choose another place with --out.")


def write_graphs(folder: Path, packed: Packed) -> None:
    """Write each graph's file, or its folder of files, and what else belongs to them."""
    files = dict(packed.extra)
    for name, graph in packed.graphs.items():
        at = graph_path(name, graph)
        files |= {f"{at}/{inside}": data for inside, data in graph.files.items()} or {at: graph.data}
    for relative, data in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        with named(path):
            path.write_bytes(data)


def graph_path(name: StageName, graph: Graph) -> str:
    """Return where in a bundle a stage's graph lies."""
    return f"{'model' if graph.function else name}{graph.suffix}"


def stage_specs(stages: Sequence[Stage], graphs: Mapping[StageName, Graph]) -> dict[StageName, StageSpec]:
    """Describe the converted stages."""
    return {
        s.name: StageSpec(
            file=graph_path(s.name, graphs[s.name]),
            function=graphs[s.name].function,
            iterations=s.iterations,
            inputs=s.inputs,
            outputs=s.outputs,
            macs=graphs[s.name].macs,
            ops=graphs[s.name].ops,
            delegation=graphs[s.name].delegation,
        )
        for s in stages
    }


def write_golden_part(folder: Path, sequence: GoldenSequence | None, tolerance: ToleranceSpec) -> GoldenSpec:
    """Write the golden sequence and describe it; None leaves it out, and the manifest says so."""
    if sequence is None:
        return GoldenSpec(included=False)
    with named(folder):
        index, _ = write_golden(folder, sequence)
    return GoldenSpec(included=True, index=index, frames=len(sequence.crops), tolerance=tolerance)


def write_legal(folder: Path) -> None:
    """Write the licence and the notices: the weights', the layouts', and the golden face's."""
    for name in LEGAL:
        with named(folder / name):
            (folder / name).write_text(legal_text(name), encoding="utf-8")


def listed_files(folder: Path) -> tuple[FileSpec, ...]:
    """List every file of a folder but the manifest, with size and hash."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).as_posix() != MANIFEST)
    return tuple(_file_spec(folder, path) for path in found)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`."""
    with named(folder / MANIFEST):
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _file_spec(folder: Path, path: Path) -> FileSpec:
    data = path.read_bytes()
    relative = path.relative_to(folder).as_posix()
    return FileSpec(path=relative, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
