"""A manifest from text: other versions first, then every field."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError

from qlot.runtime.bundle.json_text import describe, strict_json
from qlot.runtime.bundle.limits import MAX_PROBLEMS
from qlot.runtime.bundle.manifest import SCHEMA_VERSION, Manifest
from qlot.runtime.errors import ManifestError, SchemaVersionError


def parse_manifest(text: str | bytes) -> Manifest:
    """Parse and check a manifest. Types are exact, as in the typed languages: "1" and 1.0 are no integers.

    Raises:
        ManifestError: not JSON, or against the schema; the message lists each field.
        SchemaVersionError: written for another major version.
    """
    data = strict_json(text, "manifest.json")
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, str) or not re.fullmatch(r"\d{1,6}\.\d{1,6}", version, re.ASCII):
        raise ManifestError("manifest.json has no schema_version of the form MAJOR.MINOR: is this a QLOT bundle?")
    major, minor = (int(v) for v in version.split("."))
    own_major, own_minor = (int(v) for v in SCHEMA_VERSION.split("."))
    if major != own_major:
        what = "update qlot-mobile" if major > own_major else "export the bundle again with this version of qlot-mobile"
        raise SchemaVersionError(f"the bundle has schema version {version}, this runtime reads {own_major}.x: {what}.")
    try:
        return _validated(text, data, ignore_unknown=minor > own_minor)
    except ValidationError as e:
        raise ManifestError(f"manifest.json does not follow schema {SCHEMA_VERSION}: {describe(e)}") from e


def _validated(text: str | bytes, data: Any, ignore_unknown: bool) -> Manifest:
    """Check a manifest, given as text and as parsed from it, against the schema.

    Unknown fields are ignored by taking out of `data` exactly those that the schema refuses, at whatever depth, and
    checking again: so all other fields are checked as in a manifest of the runtime's own version.
    """
    try:
        return Manifest.model_validate_json(text, strict=True)
    except ValidationError as e:
        if e.error_count() > MAX_PROBLEMS:
            raise
        problems = e.errors(include_input=False, include_url=False)
        unknown = [p["loc"] for p in problems if p["type"] == "extra_forbidden"]
        if not (ignore_unknown and unknown):
            raise
    for *path, field in unknown:
        part = data
        for key in path:
            part = part[key]
        del part[field]
    return Manifest.model_validate_json(json.dumps(data), strict=True)
