"""The one place where coremltools is imported for reading: its notes on untested versions and absent macOS libraries,
which it logs on import and at each load, stay off the console.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing below an error meanwhile."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


with quiet():
    from coremltools.converters.mil.frontend.milproto import load as milproto
    from coremltools.converters.mil.mil import types
    from coremltools.proto import Model_pb2

__all__ = ["Model_pb2", "milproto", "quiet", "types"]
