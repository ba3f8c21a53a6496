"""What the jitter benchmark renders, disturbs and compares, fixed in `protocol.json`.

Every number that could be tuned to please lies in that file. A clip is a lead-in, in which trackers settle and which is
not measured, and a motion from time 0 on: a shift of the whole face along x in pixels of the frame, or a blink.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from qlot.runtime.bundle.limits import Positive
from qlot.runtime.network.recurrence import Gate
from qlot.runtime.tracking.filters import Kalman, OneEuro
from qlot.training.data.clip import Array, DataError

SmallShare = Annotated[float, Field(ge=0, le=0.5)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FrameSpec(_Part):
    """What the camera delivers."""

    size: Annotated[int, Field(ge=64, le=2048)]  # pixels, width and height
    fps: Positive
    field: Positive  # cm at the eyes that the frame spans


class NoiseSpec(_Part):
    """White noise of variance read² + shot * value in 8-bit levels, on every channel of every frame; then JPEG."""

    read: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    shot: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]


class StartSpec(_Part):
    """How far a clip's first crop is off the crop rule's: largest shift over its side, largest |ln side|."""

    shift: SmallShare
    scale: SmallShare


class _Motion(_Part):
    kind: str
    seconds: Positive  # after the lead-in

    @property
    def name(self) -> str:
        """What tables and files call it."""
        return self.kind


class StillSpec(_Motion):
    """Nothing moves: whatever does is flicker."""

    kind: Literal["still"]


class RampSpec(_Motion):
    """Rest during the lead-in, then forth for half of the time and back again, at constant speed.

    A tracker's error also depends on where the face is; over the same places in both directions that cancels.
    """

    kind: Literal["ramp"]
    speed: Positive  # pixels per second
    settle: Positive  # seconds at either end of each way that are not measured


class SineSpec(_Motion):
    """A sine that also runs through the lead-in: no transient is left when it is measured."""

    kind: Literal["sine"]
    hertz: Positive
    amplitude: Positive  # pixels

    @property
    def name(self) -> str:
        """What tables and files call it."""
        return f"sine-{self.hertz:g}"


class SaccadeSpec(_Motion):
    """A step within a frame or two, then rest."""

    kind: Literal["saccade"]
    step: Positive  # pixels
    rise: Positive  # seconds


class BlinkSpec(_Motion):
    """Both lids close, stay closed and open once; the head is at rest."""

    kind: Literal["blink"]
    closing: Positive  # seconds
    closed: Positive
    opening: Positive


class GlanceSpec(_Motion):
    """The eyes look to one side, to the other and back to the middle, a third of the time each; the head is at rest."""

    kind: Literal["glance"]
    reach: Annotated[float, Field(gt=0, le=1)]  # weight of the expressions that turn the eyes
    rise: Positive  # seconds that each turn takes


MotionSpec = Annotated[
    StillSpec | RampSpec | SineSpec | SaccadeSpec | BlinkSpec | GlanceSpec, Field(discriminator="kind")
]


class GateSetting(_Part):
    """A radius of the uncertainty gate in pixels of the network input, and its cutoff."""

    radius: Positive
    cutoff: Annotated[float, Field(ge=0, lt=1)]

    def gate(self) -> Gate:
        """Return the runtime's gate."""
        return Gate(self.radius, self.cutoff)


class OneEuroSetting(_Part):
    """See `qlot.runtime.tracking.filters.OneEuro`."""

    min_cutoff: Positive
    beta: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    def rule(self) -> OneEuro:
        """Return the runtime's filter."""
        return OneEuro(self.min_cutoff, self.beta)


class KalmanSetting(_Part):
    """See `qlot.runtime.tracking.filters.Kalman`."""

    acceleration: Positive

    def rule(self) -> Kalman:
        """Return the runtime's filter."""
        return Kalman(self.acceleration)


class MethodsSpec(_Part):
    """The settings that are compared."""

    steady: tuple[Positive, ...]  # units of the tracker's own steady rule
    gates: tuple[GateSetting, ...]
    one_euro: tuple[OneEuroSetting, ...]
    kalman: tuple[KalmanSetting, ...]


class JitterProtocol(_Part):
    """`protocol.json`."""

    version: Literal[2]
    frame: FrameSpec
    lead_in: Positive  # seconds
    noise: NoiseSpec
    start: StartSpec
    faces: Annotated[tuple[int, ...], Field(min_length=1)]  # seeds of the scenes
    motions: Annotated[tuple[MotionSpec, ...], Field(min_length=1)]
    methods: MethodsSpec

    @field_validator("motions")
    @classmethod
    def _once(cls, motions: tuple[MotionSpec, ...]) -> tuple[MotionSpec, ...]:
        names = [motion.name for motion in motions]
        if len(set(names)) != len(names):
            raise ValueError(f"a motion is listed twice in {', '.join(names)}")
        return motions

    def times(self, motion: MotionSpec) -> Array:
        """Return a clip's time stamps (T,) in seconds since the end of the lead-in, which comes before 0."""
        first = -round(self.lead_in * self.frame.fps)
        return np.arange(first, round(motion.seconds * self.frame.fps)) / self.frame.fps

    def digest(self) -> str:
        """Hash of all that decides the frames; the methods are not in it."""
        text = json.dumps(self.model_dump(exclude={"methods"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load_protocol(text: str | None = None) -> JitterProtocol:
    """Return the committed protocol, or parse another one.

    Raises:
        DataError: a field is unknown, missing or out of range; the message names it.
    """
    source = resources.files(__package__).joinpath("protocol.json").read_text("utf-8") if text is None else text
    try:
        return JitterProtocol.model_validate_json(source)
    except ValidationError as e:
        problems = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'the file'}: {p['msg']}" for p in e.errors())
        raise DataError(f"the jitter protocol cannot be used: {problems}") from e
