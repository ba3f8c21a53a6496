"""Reading: whatever a file holds, it is a result or one typed error that names the file."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qlot.benchmarks.protocol.constants import protocol
from qlot.benchmarks.results.errors import (
    CorruptError,
    ForeignError,
    OversizedError,
    ResultError,
    SchemaError,
    VersionError,
)
from qlot.benchmarks.results.model import RunResult
from qlot.benchmarks.results.parse import parse_result, read_result
from tests.benchmarks.made import data, result

TEXT = result().model_dump_json().encode()


def test_what_was_written_is_read() -> None:
    assert parse_result(TEXT, "x") == result()


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", CorruptError, "not valid JSON"),
        (TEXT[:-9], CorruptError, "not valid JSON"),
        (b"\xff\xfe{}", CorruptError, "not valid JSON"),
        (b'{"a": 1, "a": 2}', CorruptError, "repeated"),
        (TEXT.replace(b'"seconds":60.0', b'"seconds":NaN'), CorruptError, "NaN"),
        (b"[" * 100_000, CorruptError, "not valid JSON"),
        (b"[1, 2]", ForeignError, "not a result"),
        (b'{"format": "geekbench"}', ForeignError, "not a result"),
        (b'{"format": "qlot-bench"}', ForeignError, "no schema_version"),
        (b'{"format": "qlot-bench", "schema_version": "2.0"}', VersionError, "schema version 2.0"),
        (TEXT.replace(b'"seconds":60.0', b'"seconds":"60"'), SchemaError, "run.seconds"),
        (TEXT.replace(b'"cores":2', b'"cores":2.5'), SchemaError, "environment.cores"),
        (b" " * (protocol().limits.bytes + 1), OversizedError, "more than 32 MB"),
    ],
)
def test_what_is_none_says_why(content: bytes, error: type[ResultError], said: str) -> None:
    with pytest.raises(error, match="a file") as found:
        parse_result(content, "a file")
    assert said in str(found.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match=r"none\.json: cannot be read"):
        read_result(tmp_path / "none.json")


def _mutated(rng: random.Random) -> bytes:
    """Return a result with something changed: bytes, or one value, key or part of its JSON."""
    if rng.random() < 0.4:
        content = bytearray(TEXT)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(content))
            content[at : at + rng.randint(0, 3)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 3)))
        return bytes(content)
    found: Any = data()
    part, key = found, rng.choice(list(found))
    while isinstance(part[key], dict | list) and part[key] and rng.random() < 0.85:
        part = part[key]
        key = rng.choice(list(part) if isinstance(part, dict) else range(len(part)))
    odd = [None, True, -1, 0, 1e308, 10**30, "", "x" * 5000, "\x1b[2J", [], {}, [[]], {"a": 1}, "‮", 0.5]
    if rng.random() < 0.25:
        del part[key]
    elif isinstance(part, dict) and rng.random() < 0.2:
        part["unknown"] = rng.choice(odd)
    else:
        part[key] = rng.choice(odd)
    return json.dumps(found).encode()


def test_a_thousand_mutated_files_are_results_or_typed_errors() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(1000):
        try:
            found = parse_result(_mutated(random.Random(seed)), "mutated")
            assert isinstance(found, RunResult)
            kinds["a result"] += 1
        except ResultError as e:
            assert str(e).startswith("mutated: ") and "\x1b" not in str(e) and len(str(e)) < 3000
            kinds[type(e).__name__] += 1
    assert {"CorruptError", "SchemaError", "ForeignError"} <= set(kinds)
    assert kinds["SchemaError"] > 300
