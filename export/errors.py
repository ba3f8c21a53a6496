"""Errors of the export that a user can cause."""

from __future__ import annotations

from qlot.runtime.errors import QlotError


class ExportError(QlotError):
    """An export cannot be done as asked; nothing was written."""


class SchemeError(ExportError):
    """A scheme is unknown, or refused on a target."""


class TargetError(ExportError):
    """A target is not available, or its converter failed."""
