"""Errors of the MIL interpreter that a user can cause."""

from __future__ import annotations


class MilError(Exception):
    """A CoreML package cannot be interpreted as asked."""


class PackageError(MilError):
    """A package is missing, incomplete or corrupt, is no ML program, or lacks the function asked for."""


class OpError(MilError):
    """An operation is unknown here, is used with an option that is unknown here, or failed."""


class FeedError(MilError):
    """A feed or a state is missing, unknown, or has another dtype or shape than the program's input."""
