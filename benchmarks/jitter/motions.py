"""The protocol's motions as functions of time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qlot.benchmarks.jitter.protocol import (
    BlinkSpec,
    GlanceSpec,
    MotionSpec,
    RampSpec,
    SaccadeSpec,
    SineSpec,
    StillSpec,
)
from qlot.training.data.synthetic.motion import Blink, FaceState, Motion, Saccade, Sine, Still, minimum_jerk


@dataclass(frozen=True, eq=False)
class BackAndForth:
    """Along x at constant speed, forth and back in equal times, centred on the resting place; see `RampSpec`."""

    speed: float  # pixels per second
    seconds: float  # both ways
    rest: FaceState

    def __call__(self, seconds: float) -> FaceState:
        """Return the state; before and after, that of the path's start."""
        passed = min(max(seconds, 0.0), self.seconds)
        x = self.speed * (self.seconds / 4 - abs(passed - self.seconds / 2))
        return replace(self.rest, time=seconds, shift=(self.rest.shift[0] + x, self.rest.shift[1]))


@dataclass(frozen=True, eq=False)
class Glance:
    """To one side, to the other, back; see `GlanceSpec`."""

    spec: GlanceSpec
    ways: tuple[tuple[int, ...], tuple[int, ...]]  # expression weights that turn both eyes to either side
    rest: FaceState

    def __call__(self, seconds: float) -> FaceState:
        """Return the state; before, the eyes look ahead."""
        third, turn = self.spec.seconds / 3, (1.0, -2.0, 1.0)
        side = sum(by * minimum_jerk((seconds - i * third) / self.spec.rise) for i, by in enumerate(turn))
        weights = self.rest.expression.copy()
        for way, sign in zip(self.ways, (1, -1), strict=True):
            weights[list(way)] = self.spec.reach * max(0.0, sign * side)
        return replace(self.rest, time=seconds, expression=weights)


def motion_of(
    spec: MotionSpec, rest: FaceState, lids: tuple[int, ...], gaze: tuple[tuple[int, ...], tuple[int, ...]]
) -> Motion:
    """Return the motion that starts at time 0, the end of the lead-in.

    Args:
        spec: what the protocol asks for.
        rest: the face without it.
        lids: the expression weights that close the eyes.
        gaze: those that turn both eyes to one side, and those to the other.
    """

    def at(x: float) -> FaceState:
        return replace(rest, shift=(rest.shift[0] + x, rest.shift[1]))

    match spec:
        case StillSpec():
            return Still(rest)
        case RampSpec():
            return BackAndForth(spec.speed, spec.seconds, rest)
        case SineSpec():
            return Sine(spec.hertz, (spec.amplitude, 0.0), state=rest)
        case SaccadeSpec():
            return Saccade((spec.step, 0.0), 0.0, spec.rise, at(-spec.step / 2))
        case BlinkSpec():
            return Blink(lids, 0.0, spec.closing, spec.closed, spec.opening, state=rest)
        case GlanceSpec():
            return Glance(spec, gaze, rest)
