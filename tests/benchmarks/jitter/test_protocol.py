from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from qlot.benchmarks.jitter.protocol import SineSpec, load_protocol
from qlot.training.data.clip import DataError


def fields() -> dict[str, Any]:
    return load_protocol().model_dump(mode="json")


def test_the_committed_protocol_has_every_kind_of_motion() -> None:
    protocol = load_protocol()
    assert {motion.kind for motion in protocol.motions} == {"still", "ramp", "sine", "saccade", "blink", "glance"}
    assert [m.hertz for m in protocol.motions if isinstance(m, SineSpec)] == [0.3, 0.5, 1, 1.5, 2, 4]


def test_a_sine_is_measured_over_at_least_two_periods() -> None:
    for motion in load_protocol().motions:
        if isinstance(motion, SineSpec):
            assert motion.seconds * motion.hertz >= 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blur": 1}, "blur: Extra inputs"),
        ({"noise": {"read": -1, "shot": 0, "jpeg_quality": 75}}, "noise.read"),
        ({"noise": {"read": 1, "shot": 0, "jpeg_quality": 75, "gain": 2}}, "noise.gain: Extra inputs"),
        ({"faces": []}, "faces"),
        ({"version": 1}, "version"),
        ({"motions": [{"kind": "nod", "seconds": 1}]}, "motions.0"),
        ({"motions": [{"kind": "still", "seconds": 1, "speed": 3}]}, "speed: Extra inputs"),
        ({"motions": [{"kind": "still", "seconds": 1}] * 2}, "listed twice"),
    ],
)
def test_what_is_unknown_or_out_of_range_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_protocol(json.dumps(fields() | change))


def test_what_is_missing_or_not_json_is_named() -> None:
    with pytest.raises(DataError, match="lead_in: Field required"):
        load_protocol(json.dumps({k: v for k, v in fields().items() if k != "lead_in"}))
    with pytest.raises(DataError, match="Invalid JSON"):
        load_protocol("{")


def test_the_digest_is_of_the_frames_alone() -> None:
    same, other = fields(), fields()
    same["methods"]["kalman"] = []
    other["noise"]["read"] += 1
    digest = load_protocol().digest()
    assert load_protocol(json.dumps(same)).digest() == digest
    assert load_protocol(json.dumps(other)).digest() != digest


def test_time_runs_evenly_through_zero() -> None:
    protocol = load_protocol()
    for motion in protocol.motions:
        times = protocol.times(motion)
        np.testing.assert_allclose(np.diff(times), 1 / protocol.frame.fps)
        assert times[0] == -protocol.lead_in
        assert 0.0 in times
        assert times[-1] == pytest.approx(motion.seconds - 1 / protocol.frame.fps, abs=0.51 / protocol.frame.fps)
