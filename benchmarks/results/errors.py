"""Why a result cannot be used. Each message says what is wrong with it and what to do."""

from __future__ import annotations

from qlot.runtime.errors import QlotError


class ResultError(QlotError):
    """A result file or a pasted result cannot be used."""


class CorruptError(ResultError):
    """It is not JSON, is cut off, or cannot be read."""


class ForeignError(ResultError):
    """It is something else than a result of `qlot bench`."""


class VersionError(ResultError):
    """It is of another version of the schema."""


class OversizedError(ResultError):
    """It is larger than any result is."""


class SchemaError(ResultError):
    """It does not follow the schema, or contradicts itself."""


class RepeatedError(ResultError):
    """The same run is there already."""


class InvalidError(ResultError):
    """It says of itself that its times are worth nothing, and why."""
