"""A result from bytes: what it is not is said first, then every field is checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qlot.benchmarks.protocol.constants import protocol
from qlot.benchmarks.results.errors import CorruptError, ForeignError, OversizedError, SchemaError, VersionError
from qlot.benchmarks.results.model import FORMAT, SCHEMA_VERSION, RunResult
from qlot.runtime.bundle.json_text import describe, loads_strict


def read_result(path: Path) -> RunResult:
    """Read a result file.

    Raises:
        ResultError: what is wrong, with the file's name.
    """
    most = protocol().limits.bytes
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as e:
        raise CorruptError(f"{path}: cannot be read ({e.strerror})") from e
    return parse_result(data, str(path))


def parse_result(data: bytes, name: str) -> RunResult:
    """Parse and check a result.

    Args:
        data: UTF-8 JSON.
        name: of the file, for messages.

    Raises:
        OversizedError: more bytes than any result has.
        CorruptError: not JSON.
        ForeignError: JSON of something else.
        VersionError: of another schema version.
        SchemaError: a field is missing, unknown, out of range or contradicts another; the message names each.
    """
    most = protocol().limits.bytes
    if len(data) > most:
        raise OversizedError(f"{name}: more than {most // 2**20} MB, which no result has")
    try:
        found = loads_strict(data.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise CorruptError(f"{name}: not valid JSON ({e}): copy or measure it again") from e
    _check_kind(found, name)
    try:
        return RunResult.model_validate_json(data, strict=True)
    except ValidationError as e:
        raise SchemaError(f"{name}: does not follow result schema {SCHEMA_VERSION}: {describe(e)}") from e


def _check_kind(found: Any, name: str) -> None:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ForeignError(f"{name}: not a result of `qlot bench` (no format {FORMAT!r})")
    version = found.get("schema_version")
    if version != SCHEMA_VERSION:
        if not isinstance(version, str) or not re.fullmatch(r"\d{1,6}\.\d{1,6}", version, re.ASCII):
            raise ForeignError(f"{name}: has no schema_version of the form MAJOR.MINOR")
        raise VersionError(f"{name}: schema version {version}, {SCHEMA_VERSION} is read: update the older program")
