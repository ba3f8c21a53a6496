"""Files appear whole or not at all: they are written beside their place and renamed when complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


def partial_path(path: Path) -> Path:
    """Return the temporary neighbour of `path`; the same folder, so that the rename cannot cross a file system."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends, and is removed when it fails.

    Two processes that write the same file at once do not meet: one's file stays, whole.

    Raises:
        OSError: with the path in it, a full disk included.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with named(path):
            yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):  # of the clean-up: it must not hide why the block failed
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Yield a new folder that becomes `path` when the block ends, and vanishes when it fails.

    What lies at `path` by then is replaced: `check` has the last word, and raises if that must not be.

    Raises:
        OSError: it cannot be written there.
    """
    with ExitStack() as stack:
        stack.enter_context(made_folders(path.parent))
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        fresh = temporary / "new"
        fresh.mkdir()
        yield fresh
        check()
        old = temporary / "old"
        if path.exists():
            path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the path into errors of the system that name none, as those of a full disk."""
    try:
        yield
    except OSError as e:
        if e.filename is not None or e.errno is None:
            raise
        raise OSError(e.errno, e.strerror, str(path)) from e


def check_writable(path: Path) -> None:
    """Try whether a file can be written at `path`, before the work that will fill it; leave everything as it was.

    Raises:
        OSError: it cannot, or a folder is in its place.
    """
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder", str(path))
    with made_folders(path.parent, keep=False), tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
        if path.exists():
            with path.open("ab"):
                pass


@contextmanager
def made_folders(folder: Path, keep: bool = True) -> Iterator[None]:
    """Make a folder and those above it; those that were made go again if the block fails, or unless they are kept.

    A folder that has got another content by then stays.

    Raises:
        OSError: a folder cannot be made.
    """
    missing = [p for p in (folder, *folder.parents) if not p.exists()]  # nearest first
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        keep = False
        raise
    finally:
        with suppress(OSError):  # the first that is not empty
            for made in missing if not keep else ():
                made.rmdir()
