"""The protocol's motions as functions of time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qlot.benchmarks.jitter.protocol import BlinkSpec, MotionSpec, RampSpec, SaccadeSpec, SineSpec, StillSpec
from qlot.training.data.synthetic.motion import Blink, FaceState, Motion, Saccade, Sine, Still


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


def motion_of(spec: MotionSpec, rest: FaceState, lids: tuple[int, ...]) -> Motion:
    """Return the motion that starts at time 0, the end of the lead-in.

    Args:
        spec: what the protocol asks for.
        rest: the face without it.
        lids: the expression weights that close the eyes.
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
