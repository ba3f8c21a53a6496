"""JSON as every runtime's parser reads it, and of a size that any of them can hold."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from qlot.runtime.bundle.limits import MAX_JSON_BYTES, MAX_JSON_VALUES, MAX_PROBLEMS
from qlot.runtime.errors import ManifestError


def strict_json(text: str | bytes, name: str) -> Any:
    """Parse UTF-8 JSON as every runtime's parser would: a repeated key and NaN are errors, not a matter of taste.

    Raises:
        ManifestError: `name` is not such JSON, or is too large to be read at all.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        _check_size(decoded, len(text), name)
        return loads_strict(decoded)
    except (ValueError, RecursionError) as e:
        raise ManifestError(f"{name} is not valid JSON: {e}. Export the bundle again.") from e


def loads_strict(text: str) -> Any:
    """Parse JSON without a repeated key, NaN or Infinity, of any size.

    Raises:
        ValueError: `text` is not such JSON.
        RecursionError: it is too deep.
    """

    def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is repeated in one object")
        return found

    def no_constant(word: str) -> Any:
        raise ValueError(f"{word} is not a JSON number")

    return json.loads(text, object_pairs_hook=no_repeats, parse_constant=no_constant)


def describe(error: ValidationError) -> str:
    """Return the first few problems of a schema error on one line: field and message."""
    if error.error_count() > MAX_PROBLEMS:
        return f"{error.error_count()} fields are unknown or wrong"

    def one(where: tuple[int | str, ...], message: str) -> str:
        return f"{ascii('.'.join(map(str, where)) or 'top level')[1:-1][:160]}: {message[:200]}"

    return "; ".join(one(e["loc"], e["msg"]) for e in error.errors(include_input=False, include_url=False)[:8])


def _check_size(text: str, size: int, name: str) -> None:
    """Refuse what would fill the memory once it is parsed. Commas bound the number of values without parsing."""
    if size > MAX_JSON_BYTES:
        raise ManifestError(f"{name} has more than {MAX_JSON_BYTES // 2**20} MB; no exported one is near that.")
    if text.count(",") > MAX_JSON_VALUES:
        raise ManifestError(f"{name} has more than {MAX_JSON_VALUES:,} values; no exported one is near that.")
