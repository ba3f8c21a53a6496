"""A folder of results: files are added and never changed; whatever cannot be used is named and left out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qlot.benchmarks.protocol.constants import protocol
from qlot.benchmarks.results.errors import CorruptError, InvalidError, RepeatedError, ResultError
from qlot.benchmarks.results.model import RunResult
from qlot.benchmarks.results.parse import read_result
from qlot.benchmarks.results.paste import from_text
from qlot.runtime.partial import named


@dataclass(frozen=True)
class Loaded:
    """What was found.

    Attributes:
        results: by path, in order of their start.
        refused: why each of the others was left out.
    """

    results: dict[Path, RunResult]
    refused: tuple[ResultError, ...]


def add(folder: Path, result: RunResult) -> Path:
    """Write a result into a folder, as a file of its own, whole or not at all.

    Returns:
        The file.

    Raises:
        RepeatedError: this run is in the folder already.
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(result)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with named(path):
            temporary.write_text(result.model_dump_json() + "\n", encoding="utf-8")
            _place(temporary, path)
    except FileExistsError as e:
        raise RepeatedError(f"{path}: this run is there already; results are added, never changed") from e
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _place(temporary: Path, path: Path) -> None:
    """Give a file its name, unless there is one of that name."""
    try:
        os.link(temporary, path)  # fails where a rename would replace
    except FileExistsError:
        raise
    except OSError:  # a file system without links: two runs of one number at once are not to be feared
        if path.exists():
            raise FileExistsError(path) from None
        temporary.rename(path)


def file_name(result: RunResult) -> str:
    """Return the name of a result's file: when, on what, and which run."""
    when = result.run.started.replace("-", "").replace(":", "")
    device = re.sub(r"[^A-Za-z0-9]+", "-", result.environment.device).strip("-").lower()[:40] or "device"
    return f"{when}-{device}-{result.run.id[:8]}.json"


def load(paths: Iterable[Path], invalid: bool = False) -> Loaded:
    """Read results from files, pasted ones from .txt and .md files, and all .json files of folders.

    A file that cannot be used does not stop the others: it is among the refused. So is a run that comes twice, and,
    unless `invalid` ones are wanted, a run that is not valid.
    """
    results: dict[Path, RunResult] = {}
    refused: list[ResultError] = []
    seen: dict[str, Path] = {}
    for path in _files(paths, refused):
        try:
            result = _read(path)
            if result.run.id in seen:
                raise RepeatedError(f"{path}: the same run as {seen[result.run.id]}")
            if not (result.valid or invalid):
                raise InvalidError(f"{path}: not valid: {'; '.join(result.reasons)}")
        except ResultError as e:
            refused.append(e)
            continue
        seen[result.run.id] = path
        results[path] = result
    ordered = sorted(results.items(), key=lambda item: (item[1].run.started, item[1].run.id))
    return Loaded(dict(ordered), tuple(refused))


def _files(paths: Iterable[Path], refused: list[ResultError]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix == ".json")
            if not inside:
                refused.append(CorruptError(f"{path}: no .json file in this folder"))
            files += inside
        else:
            files.append(path)
    return files


def _read(path: Path) -> RunResult:
    """Read a result from its file, or from text that somebody pasted into one (.txt, .md)."""
    if path.suffix not in (".txt", ".md"):
        return read_result(path)
    try:
        with path.open("rb") as file:
            text = file.read(protocol().limits.bytes)
    except OSError as e:
        raise CorruptError(f"{path}: cannot be read ({e.strerror})") from e
    return from_text(text.decode("utf-8", "replace"), str(path))
