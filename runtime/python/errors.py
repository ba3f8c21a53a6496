"""Typed errors of the runtime: each names what was wrong, where, and what to do."""

from __future__ import annotations


class QlotError(Exception):
    """Base of every error a user can cause."""


class BundleError(QlotError):
    """A bundle cannot be used as it is on disk."""


class ManifestError(BundleError):
    """`manifest.json` is missing, is not JSON, or does not follow the schema."""


class SchemaVersionError(BundleError):
    """The bundle was written for a runtime with another major schema version."""


class IntegrityError(BundleError):
    """A file is missing, is not listed, or differs in size or hash from the manifest."""


class UnsafePathError(BundleError):
    """A path leaves the bundle folder, is absolute, or is a link."""


class SessionError(BundleError):
    """An engine is missing, refuses a graph, or the graph's interface is not the manifest's."""


class ParityError(QlotError):
    """A replay left the tolerance of its scheme."""


class FrameError(QlotError, ValueError):
    """A frame or time stamp handed to the tracker is unusable; the tracker itself stays usable."""


class TimeUnitWarning(UserWarning):
    """Time stamps handed to the tracker are hardly seconds."""


class VideoError(QlotError):
    """A video or camera cannot be opened, decoded or written."""
