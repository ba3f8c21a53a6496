"""Results as text: what came through is the same to four digits, what was damaged is found out."""

from __future__ import annotations

import base64
import hashlib
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.benchmarks.report.facts import rounds_of, summary_of
from qlot.benchmarks.results.errors import CorruptError, ForeignError, OversizedError, ResultError
from qlot.benchmarks.results.paste import PREFIX, from_text, to_text
from tests.benchmarks.made import result

TEXT = to_text(result())


def test_what_was_passed_on_says_the_same() -> None:
    sent, came = result(), from_text(TEXT, "x")
    assert came.environment == sent.environment and came.run == sent.run
    for one, other in zip(sent.subjects[0].series, came.subjects[0].series, strict=True):
        np.testing.assert_allclose(rounds_of(other), rounds_of(one), rtol=1e-3)
        assert summary_of(other).p99 == pytest.approx(summary_of(one).p99, rel=1e-3)
    assert to_text(came) == TEXT


def test_one_bundle_fits_into_a_code() -> None:
    assert len(TEXT) <= 2953  # bytes, the largest QR code


@given(st.integers(20, 200), st.text(" \n\r\t", max_size=3))
def test_forms_may_break_lines(width: int, between: str) -> None:
    broken = "\n".join(TEXT[i : i + width] for i in range(len(PREFIX), len(TEXT), width))
    pasted = f"# RunResult\n> my phone, it is fast\n{PREFIX}{broken}{between}\nThanks!"
    assert from_text(pasted, "x") == from_text(TEXT, "x")


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("hello", ForeignError, "no text that begins with"),
        (TEXT[:-12], ForeignError, "no text that begins with"),
        (TEXT.replace("eN", "eX", 1), CorruptError, "damaged"),
        (TEXT[:-8] + "00000000", CorruptError, "check digits"),
        (f"{PREFIX}!!!:00000000", ForeignError, "no text"),
    ],
)
def test_what_was_damaged_is_found_out(text: str, error: type[ResultError], said: str) -> None:
    with pytest.raises(error, match="pasted") as found:
        from_text(text, "pasted")
    assert said in str(found.value)


def _packed(content: bytes) -> str:
    packed = base64.urlsafe_b64encode(zlib.compress(content)).decode()
    return f"{PREFIX}{packed}:{hashlib.sha256(content).hexdigest()[:8]}"


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(OversizedError, match="64 KB"):
        from_text(_packed(b" " * 10**8), "pasted")


@given(st.binary(max_size=200))
def test_whatever_is_inside_is_a_typed_error(content: bytes) -> None:
    with pytest.raises(ResultError):
        from_text(_packed(content), "pasted")


@given(st.integers(len(PREFIX), len(TEXT) - 10), st.characters(codec="ascii"))
def test_one_wrong_character_is_noticed_or_harmless(at: int, other: str) -> None:
    with suppress(ResultError):
        assert from_text(TEXT[:at] + other + TEXT[at + 1 :], "x") == from_text(TEXT, "x")
