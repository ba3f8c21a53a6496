"""Open a bundle: a folder with a manifest, one graph per stage, and a golden sequence.

Nothing is used before everything was checked (`runtime/contract/README.md`, Paths and Hashes), and what is used later
is hashed again as it is read: between the two, a file may have been exchanged.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path, PurePosixPath

from qlot.runtime.bundle.golden import GoldenSequence, read_golden
from qlot.runtime.bundle.interface import check_interface
from qlot.runtime.bundle.limits import MAX_JSON_BYTES
from qlot.runtime.bundle.manifest import FileSpec, Manifest, StageSpec
from qlot.runtime.bundle.parsing import parse_manifest
from qlot.runtime.errors import BundleError, IntegrityError, ManifestError, UnsafePathError

MANIFEST = "manifest.json"
MAX_PATH = 200  # characters
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?<!\.)"
_PATH = re.compile(rf"{_NAME}(/{_NAME})*")
_DROPPINGS = {".DS_Store"}  # macOS leaves it in every folder a person looks into; never read, so harmless


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file has the size and hash its manifest states.

    Attributes:
        path: the bundle's folder.
        manifest: its checked manifest.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Check a bundle folder and return it.

        Raises:
            BundleError: there is no such folder, or it cannot be read.
            ManifestError: `manifest.json` is missing or wrong.
            SchemaVersionError: the bundle is for another runtime version.
            UnsafePathError: a path could leave the folder, or a link is inside.
            IntegrityError: a file is missing, unlisted, or differs in size or hash.
        """
        folder = Path(path)
        try:
            return cls._open(folder)
        except OSError as e:
            raise BundleError(f"cannot read {str(folder)!r}: {e}") from e

    @classmethod
    def _open(cls, folder: Path) -> Bundle:
        if not folder.is_dir():
            if not folder.exists():
                raise BundleError(f"{folder} does not exist")
            hint = "unpack it and open the folder" if folder.suffix == ".zip" else "open the folder it lies in"
            raise BundleError(f"{folder} is a file, a bundle is a folder with a {MANIFEST}: {hint}.")
        if not os.path.lexists(folder / MANIFEST):
            raise ManifestError(f"{folder} has no {MANIFEST}: is this a QLOT bundle?")
        with _open_regular(folder, MANIFEST) as file:
            text = file.read(MAX_JSON_BYTES + 1)  # of a longer one, enough to see that it is longer
        manifest = parse_manifest(text)
        check_paths(f.path for f in manifest.files)
        check_interface(manifest)
        bundle = cls(folder, manifest)
        bundle._check_folder()
        for spec in manifest.files:
            with _open_regular(folder, spec.path) as file:
                found = os.fstat(file.fileno()).st_size
                _check_size(spec, found)
                _check_hash(spec, hashlib.file_digest(file, "sha256").hexdigest())
        return bundle

    def file(self, relpath: str) -> Path:
        """Return the full path of a listed file.

        Raises:
            IntegrityError: the manifest does not list it.
        """
        return self.path / self._spec(relpath).path

    def read(self, relpath: str) -> bytes:
        """Return a listed file's bytes, hashed as they were read.

        Raises:
            IntegrityError: the manifest does not list it, or the file has changed since the bundle was opened.
            UnsafePathError: it has become a link.
        """
        spec = self._spec(relpath)
        try:
            with _open_regular(self.path, relpath) as file:
                data = file.read(spec.bytes + 1)
        except OSError as e:
            raise BundleError(f"cannot read {relpath!r}: {e}") from e
        _check_hash(spec, hashlib.sha256(data).hexdigest())
        return data

    def graph(self, stage: StageSpec) -> bytes | dict[str, bytes]:
        """Return a stage's graph: its file, or all files of its folder by path inside.

        Raises:
            IntegrityError: a file has changed since the bundle was opened.
        """
        if stage.file in self._specs:
            return self.read(stage.file)
        paths = [f.path for f in self.manifest.files if stage.holds(f.path)]
        return {path.removeprefix(f"{stage.file}/"): self.read(path) for path in paths}

    def golden(self) -> GoldenSequence | None:
        """Return the golden sequence, or None if the bundle was exported without.

        Raises:
            IntegrityError: the sequence is malformed, or does not fit the manifest's sizes.
        """
        spec = self.manifest.golden
        if not spec.included or spec.index is None:
            return None
        if self._spec(spec.index).bytes > MAX_JSON_BYTES:
            raise IntegrityError(f"{spec.index!r} has more than {MAX_JSON_BYTES // 2**20} MB: this is no index.")
        golden = read_golden(self, spec.index)
        wanted = (spec.frames, self.manifest.preprocessing.size, *self.manifest.state.hidden[1:])
        found = (len(golden.steps), golden.crops.shape[1], *golden.hidden.shape[1:])
        if found != wanted:
            raise IntegrityError(f"the golden sequence has frames, side, landmarks, channels {found}, wanted {wanted}")
        return golden

    @property
    def manifest_sha256(self) -> str:
        """Hash of `manifest.json` as it lies there; it holds the hash of every other file, so it names the bundle."""
        return hashlib.sha256((self.path / MANIFEST).read_bytes()).hexdigest()

    @cached_property
    def _specs(self) -> dict[str, FileSpec]:
        return {f.path: f for f in self.manifest.files}

    def _spec(self, relpath: str) -> FileSpec:
        if relpath not in self._specs:
            raise IntegrityError(f"the manifest does not list {relpath!r}")
        return self._specs[relpath]

    def _check_folder(self) -> None:
        """Refuse links, and whatever is neither listed nor on the way to a listed file."""
        folders = {str(parent) for path in self._specs for parent in PurePosixPath(path).parents}
        todo = [""]
        while todo:
            inside = todo.pop()
            with os.scandir(self.path / inside) as entries:
                for entry in entries:
                    relpath = f"{inside}{entry.name}"
                    if entry.is_symlink():
                        raise UnsafePathError(f"{relpath!r} is a link; a bundle holds plain files only. Copy the file.")
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if is_folder and relpath in folders:
                        todo.append(f"{relpath}/")
                    elif relpath not in self._specs and (is_folder or entry.name not in {MANIFEST, *_DROPPINGS}):
                        raise IntegrityError(f"{relpath!r} is in the bundle but not in its manifest: remove it.")


def check_paths(paths: Iterator[str]) -> None:
    """Check a manifest's file paths, before any of them is touched.

    A path is relative, with `/` between names of ASCII letters, digits, `_`, `-` and `.`; a name neither starts nor
    ends with a dot. Two paths do not differ in case alone. What this leaves means the same on every file system.

    Raises:
        UnsafePathError: a path is none of these.
        ManifestError: the manifest lists itself.
    """
    spelling: dict[str, str] = {}
    for path in paths:
        if len(path) > MAX_PATH or not _PATH.fullmatch(path):
            raise UnsafePathError(
                f"unsafe path {path[:MAX_PATH]!a}: a bundle's paths are relative, with '/' between names of "
                f"letters, digits, '_', '-' and inner dots, at most {MAX_PATH} characters."
            )
        if path == MANIFEST:
            raise ManifestError(f"{MANIFEST} lists itself")
        parts = path.split("/")
        for i in range(len(parts)):
            prefix = "/".join(parts[: i + 1])
            if spelling.setdefault(prefix.lower(), prefix) != prefix:
                raise UnsafePathError(f"{prefix!r} and {spelling[prefix.lower()]!r} differ in case alone")
    if spelling.get(MANIFEST):
        raise UnsafePathError(f"{spelling[MANIFEST]!r} differs from {MANIFEST} in case alone")


@contextmanager
def _open_regular(folder: Path, relpath: str) -> Iterator[BufferedReader]:
    """Open a regular file below `folder` without following links and without waiting for a pipe."""
    at = folder
    for part in relpath.split("/"):
        at /= part
        if at.is_symlink():
            raise UnsafePathError(f"{relpath!r} is reached through a link; a bundle holds plain files only.")
    if not os.path.lexists(at):
        raise IntegrityError(f"{relpath!r} is listed in the manifest but missing")
    if not stat.S_ISREG(at.lstat().st_mode):
        raise IntegrityError(f"{relpath!r} is not a regular file")
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # should it change just now; not on Windows
    with open(at, "rb", opener=lambda name, flags: os.open(name, flags | safe)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise IntegrityError(f"{relpath!r} is not a regular file")
        yield file


def _check_size(spec: FileSpec, found: int) -> None:
    if found != spec.bytes:
        raise IntegrityError(f"{spec.path!r} has {found} bytes, the manifest says {spec.bytes}: copy the bundle again.")


def _check_hash(spec: FileSpec, found: str) -> None:
    if found != spec.sha256:
        raise IntegrityError(f"{spec.path!r} has another SHA-256 than its manifest says: copy the bundle again.")
