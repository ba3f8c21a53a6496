"""The one place where coremltools is imported for reading: its notes on untested versions and absent macOS libraries,
which it logs on import and at each load, stay off the console.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock


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
    from coremltools.converters.mil.mil.input_type import InputSpec
    from coremltools.proto import Model_pb2

__all__ = ["Model_pb2", "constants_of_any_precision", "milproto", "quiet", "types"]
_validate = InputSpec.validate_inputs


@contextmanager
def constants_of_any_precision() -> Iterator[None]:
    """Let an operation's constants differ in dtype from its tensors meanwhile, such as a batch norm's statistics.

    coremltools writes such programs, but its own reader refuses them.
    """

    def validate(spec: Any, name: str, kind: str, inputs: Mapping[str, Any]) -> None:
        live = {n: v for n, v in inputs.items() if not getattr(v, "is_descendant_of_const", False)}
        _validate(spec, name, kind, live)
        for constant in inputs.keys() - live.keys():
            _validate(spec, name, kind, {constant: inputs[constant]})

    with mock.patch.object(InputSpec, "validate_inputs", validate):
        yield
