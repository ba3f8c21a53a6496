from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlot.benchmarks.jitter.motions import motion_of
from qlot.benchmarks.jitter.protocol import BlinkSpec, GlanceSpec, RampSpec, SaccadeSpec, SineSpec, StillSpec
from qlot.training.data.synthetic.motion import FaceState, Motion

REST, LIDS, GAZE = FaceState(shift=(3.0, -2.0)), (4, 9), ((1, 2), (3,))
RAMP = RampSpec(kind="ramp", seconds=4.0, speed=50.0, settle=0.5)


def x(motion: Motion, time: float) -> float:
    state = motion(time)
    assert state.shift[1] == REST.shift[1]
    return state.shift[0] - REST.shift[0]


@given(st.floats(-1, 5))
def test_nothing_moves_when_still(time: float) -> None:
    state = motion_of(StillSpec(kind="still", seconds=1.0), REST, LIDS, GAZE)(time)
    assert state.shift == REST.shift
    assert not state.expression.any()


@given(st.floats(-1, 0))
def test_ramp_and_step_rest_during_the_lead_in(time: float) -> None:
    saccade = motion_of(SaccadeSpec(kind="saccade", seconds=1.0, step=8.0, rise=0.04), REST, LIDS, GAZE)
    assert x(motion_of(RAMP, REST, LIDS, GAZE), time) == -50
    assert x(saccade, time) == -4
    assert x(saccade, 0.04) == pytest.approx(4)


@given(st.floats(0, 2))
def test_a_ramp_comes_back_the_way_it_went(time: float) -> None:
    ramp = motion_of(RAMP, REST, LIDS, GAZE)
    assert x(ramp, time) == pytest.approx(-50 + 50 * time)
    assert x(ramp, 4 - time) == pytest.approx(x(ramp, time))


@given(st.floats(-1, 5))
def test_a_sine_is_one_at_any_time(time: float) -> None:
    sine = motion_of(SineSpec(kind="sine", seconds=2.0, hertz=2.0, amplitude=6.0), REST, LIDS, GAZE)
    assert x(sine, time) == pytest.approx(6 * np.sin(4 * np.pi * time), abs=1e-9)


def test_a_blink_shuts_the_lids_alone() -> None:
    blink = motion_of(BlinkSpec(kind="blink", seconds=1.0, closing=0.08, closed=0.04, opening=0.16), REST, LIDS, GAZE)
    shut = blink(0.1)
    assert np.flatnonzero(shut.expression).tolist() == list(LIDS)
    assert shut.expression[4] == pytest.approx(1)
    assert not blink(0.0).expression.any() and not blink(0.3).expression.any()
    assert shut.shift == REST.shift


def test_a_glance_goes_to_one_side_then_to_the_other_and_back() -> None:
    spec = GlanceSpec(kind="glance", seconds=3.0, reach=0.7, rise=0.05)
    glance = motion_of(spec, REST, LIDS, GAZE)
    assert not glance(-0.1).expression.any() and not glance(2.5).expression.any()
    for time, way in ((0.5, GAZE[0]), (1.5, GAZE[1])):
        weights = glance(time).expression
        assert np.flatnonzero(weights).tolist() == list(way) and weights[list(way)] == pytest.approx(0.7)
        assert glance(time).shift == REST.shift
