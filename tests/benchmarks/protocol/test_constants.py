"""The constants: what they name is there, and blocks are large enough."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qlot.assets import PARITY_FRAMES, sample_clip
from qlot.benchmarks.protocol.constants import Protocol, _text, protocol, protocol_sha256
from qlot.model.layout import load_layout


def test_what_the_protocol_names_is_there() -> None:
    found = protocol()
    assert hashlib.sha256(sample_clip().read_bytes()).hexdigest() == found.frames.sha256
    assert (found.frames.first, found.frames.last) == (PARITY_FRAMES.start, PARITY_FRAMES.stop - 1)
    assert sorted({len(load_layout(name).points) for name in found.landmarks}) == [36, 68, 98, 478]
    assert hashlib.sha256(_text()).hexdigest() == protocol_sha256()


@given(st.floats(1e-5, 3.0))
def test_blocks_have_enough_frames_and_take_long_enough(seconds: float) -> None:
    amount = protocol().measured
    frames = amount.rounds * amount.block(seconds)
    assert frames >= amount.frames and frames * seconds >= 0.999 * amount.seconds
    assert frames * seconds <= 1.001 * max(amount.seconds, amount.frames * seconds) + amount.rounds * seconds


def test_an_unknown_constant_is_refused() -> None:
    with pytest.raises(ValidationError, match="extra"):
        Protocol.model_validate_json(json.dumps({**json.loads(_text()), "fudge": 1}))
