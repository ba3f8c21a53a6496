"""Motion as people move: smooth sways of the head, talking, blinks and glances, all drawn from a seed.

Rates follow what is known of people: blinks every few seconds, about 80 ms down and 140 ms up (VanderWerf et al.,
2003); gaze rests for 0.2 to 1.5 s between steps of about 40 ms; syllables at 3 to 6 Hz. Lids and gaze are drawn wider
than people's: half-closed, closed and winking eyes and far glances are what a tracker must not miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from qlot.training.data.clip import Array
from qlot.training.data.synthetic.ict import expression_weights
from qlot.training.data.synthetic.motion import FaceState, blink_curve, minimum_jerk

_PERIOD: Final = 60.0  # seconds after which blinks and glances repeat
_WAVES: Final = 6  # sinusoids that make up a smooth random curve
_LIMITS: Final = np.array([60.0, 35.0, 40.0])  # degrees of yaw, pitch, roll

# Expressions that come and go; names without a side mean both.
_MOODS: Final = (
    *("browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekSquint", "eyeSquint", "eyeWide", "jawForward"),
    *("mouthDimple", "mouthFrown", "mouthFunnel", "mouthLowerDown", "mouthPress", "mouthPucker", "mouthRollLower"),
    *("mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmile", "mouthStretch", "mouthUpperUp"),
    *("noseSneer", "jawOpen"),
)
# One way, then for each the other: a signed value sets one of them.
_SIDEWAYS: Final = ("jawLeft", "mouthLeft", "jawRight", "mouthRight")
_GAZE: Final = ("eyeLookOut_L", "eyeLookIn_R", "eyeLookUp", "eyeLookIn_L", "eyeLookOut_R", "eyeLookDown")
_LIDS: Final = ("eyeBlink_L", "eyeBlink_R")
_TALKING: Final = {
    "jawOpen": 0.16,
    "mouthFunnel": 0.15,
    "mouthPucker": 0.15,
    "mouthLowerDown": 0.2,
    "mouthStretch": 0.12,
}
_SPOKEN: Final = [_MOODS.index(name) for name in _TALKING]


@dataclass(frozen=True, eq=False)
class Curves:
    """Smooth random curves of unit variance: sums of sinusoids."""

    frequency: Array  # (n, waves) Hz
    phase: Array  # (n, waves) radians

    @classmethod
    def draw(cls, count: int, slowest: float, fastest: float, rng: np.random.Generator) -> Curves:
        """Draw curves whose frequencies are log-uniform between two, in Hz."""
        shape = (count, _WAVES)
        return cls(np.exp(rng.uniform(np.log(slowest), np.log(fastest), shape)), rng.uniform(0, 2 * np.pi, shape))

    def at(self, seconds: float) -> Array:
        """Return the (n,) values at a time."""
        return np.asarray(np.sin(2 * np.pi * self.frequency * seconds + self.phase).sum(1) * np.sqrt(2 / _WAVES))


class RandomMotion:
    """A face that looks about, talks, blinks and makes faces. The same seed gives the same motion."""

    def __init__(self, names: tuple[str, ...], seed: int, liveliness: float = 1.0) -> None:
        """Draw a motion.

        Args:
            names: the model's expressions.
            seed: of everything random.
            liveliness: factor on all speeds and sways; 0 keeps pose and expression still but for blinks.
        """
        self.names, self.liveliness = names, liveliness
        rng = np.random.default_rng(seed)
        self._rest_turn = np.array([rng.normal(0, 18), rng.normal(0, 7), rng.normal(0, 8)])
        self._rest_place = rng.normal(0, 1.0, 3) * (1, 1, 2)
        pace = float(np.exp(rng.normal(0, 0.4)))
        self._sway = Curves.draw(6, 0.1 * pace, 1.2 * pace, rng)
        self._sway_size = np.array([7, 5, 4, 1.2, 1.0, 1.5]) * liveliness * rng.lognormal(-0.3, 0.6, 6)
        self._draw_moods(rng)
        self._talk = Curves.draw(len(_TALKING), 1.5, 5.0, rng)
        talks = float(rng.random() < 0.45) * min(1.0, liveliness)
        self._talking = talks * rng.uniform(0.4, 1.6, len(_TALKING)) * np.array(list(_TALKING.values()))
        self._known: dict[tuple[str, ...], Array] = {}
        self._draw_events(rng)

    def _draw_moods(self, rng: np.random.Generator) -> None:
        """Choose a few expressions, each with its level and its change; both sides differ a little."""
        count = len(_MOODS)
        active = rng.random(count) < rng.uniform(0.03, 0.35)
        self._level = np.where(active, rng.uniform(-0.2, 0.55, count), 0.0)
        self._change = np.where(active, rng.uniform(0.05, 0.35, count), 0.0) * self.liveliness
        self._mood = Curves.draw(count, 0.1, 1.5, rng)
        self._sideways = Curves.draw(len(_SIDEWAYS) // 2, 0.1, 1.0, rng)
        self._sideways_size = rng.exponential(0.12, len(_SIDEWAYS) // 2) * self.liveliness
        self._uneven = 1 + rng.normal(0, 0.15, len(self.names))

    def _draw_events(self, rng: np.random.Generator) -> None:
        """Lay out a period's blinks and glances."""
        pauses = 0.3 + rng.exponential(rng.uniform(0.4, 3.0), 400)
        self._blinks = np.cumsum(pauses)[np.cumsum(pauses) < _PERIOD - 1]
        self._blink_shape = rng.uniform((0.06, 0.0, 0.09), (0.1, 0.05, 0.18), (len(self._blinks), 3))
        count = len(self._blinks)
        winks = rng.permuted(np.tile([1.0, 0.0], (count, 1)), axis=1)
        lids = np.where(rng.random((count, 1)) < 0.85, 1.0, winks)  # (blinks, 2)
        self._blink_depth = lids * rng.choice([1.0, 0.6], (count, 1), p=[0.8, 0.2]) * rng.uniform(0.8, 1.0, (count, 1))
        lid = float(rng.choice([0.0, rng.uniform(0, 0.5), rng.uniform(0.5, 1), 1.0], p=[0.6, 0.2, 0.12, 0.08]))
        self._lid = lid * (np.ones(2) if rng.random() < 0.8 else rng.permutation([0.0, 1.0]))
        steps = np.cumsum(rng.uniform(0.2, 1.5, 400))
        self._glances = np.concatenate([[0.0], steps[steps < _PERIOD - 0.5]])
        spread = rng.choice([0.0, 0.25, 0.5, 0.8])
        self._gaze = rng.normal(0, 0.25, 2) + rng.normal(0, 1, (len(self._glances), 2)) * (spread, 0.6 * spread)

    def __call__(self, seconds: float) -> FaceState:
        """Return the state at a time."""
        sway = self._sway.at(seconds) * self._sway_size
        yaw, pitch, roll = np.clip(self._rest_turn + sway[:3], -_LIMITS, _LIMITS).tolist()
        right, up, near = (self._rest_place + sway[3:]).tolist()
        return FaceState(seconds, (yaw, pitch, roll), (right, up, near), (0.0, 0.0), self._expression(seconds))

    def _expression(self, seconds: float) -> Array:
        moods = np.maximum(0, self._level + self._change * self._mood.at(seconds))
        moods[_SPOKEN] += np.maximum(0, 0.8 + self._talk.at(seconds)) * self._talking
        turned = self._sideways.at(seconds) * self._sideways_size
        weights = (moods @ self._rows(_MOODS) + _signed(turned) @ self._rows(_SIDEWAYS)) * self._uneven
        weights = weights + _signed(self._looking(seconds)) @ self._rows(_GAZE)
        lid = self._lids(seconds) @ self._rows(_LIDS)
        return np.clip(np.maximum(weights, lid), 0, 1)

    def _rows(self, names: tuple[str, ...]) -> Array:
        """Return (len(names), 53): the weights that each name sets, worked out once."""
        if names not in self._known:
            self._known[names] = np.stack([expression_weights(self.names, **{name: 1.0}) for name in names])
        return self._known[names]

    def _looking(self, seconds: float) -> Array:
        """Return how far the eyes look to +x, the same for the left and the right eye, and up: (3,) within [-1, 1]."""
        within = seconds % _PERIOD
        last = int(np.searchsorted(self._glances, within, "right")) - 1
        share = minimum_jerk((within - self._glances[last]) / 0.04)
        aside, up = self._gaze[last - 1] + (self._gaze[last] - self._gaze[last - 1]) * share
        return np.clip([aside, aside, up], -1, 1)

    def _lids(self, seconds: float) -> Array:
        """Return how far each lid is closed (2,)."""
        within = seconds % _PERIOD
        last = int(np.searchsorted(self._blinks, within, "right")) - 1
        if last < 0:
            return self._lid
        closing, closed, opening = self._blink_shape[last]
        blink = self._blink_depth[last] * blink_curve(within - self._blinks[last], closing, closed, opening)
        return np.maximum(self._lid, blink)


def _signed(values: Array) -> Array:
    """Return (2 n,) for values (n,): the positive parts, then the negative parts."""
    return np.concatenate([np.maximum(values, 0), np.maximum(-values, 0)])
