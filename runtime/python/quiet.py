"""Libraries that print, log and warn: kept off the user's screen, also where they write to it past Python."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_STDERR = 2


@functools.cache
def _nowhere() -> TextIO:
    """Open for good: a library that loads in a quiet block may keep it as the place where it logs."""
    return Path(os.devnull).open("w", encoding="utf-8")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Show nothing that is written to stderr, printed, logged below an error or warned meanwhile; errors are raised.

    What is written to standard output past Python is shown: a spinner runs there.
    """
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    nowhere = _nowhere()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
            _native(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _native(nowhere: TextIO) -> Iterator[None]:
    """Point the process's standard error elsewhere; a process without one has nothing to hide."""
    if sys.__stderr__ is not None:
        with contextlib.suppress(ValueError, OSError):
            sys.__stderr__.flush()
    try:
        kept = os.dup(_STDERR)
    except OSError:
        yield
        return
    try:
        os.dup2(nowhere.fileno(), _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
