"""The protocol's constants, as data that every runtime's benchmark reads: `runtime/contract/bench_protocol.json`."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from qlot.runtime.bundle.limits import Count, Positive, Positives

Share = Annotated[float, Field(gt=0, lt=1)]
FILE = "bench_protocol.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ClipRule(_Part):
    """The clip whose frames `first` to `last` are played forth and back, so that no frame follows a jump."""

    clip: str
    sha256: str  # of the file
    first: Count
    last: Count
    rate: Positive  # frames a second: the time stamps that a tracker is given, whatever a frame takes


class AmountSpec(_Part):
    """How much, whichever comes later."""

    frames: Positives
    seconds: Annotated[float, Field(ge=0)]


class MeasuredSpec(AmountSpec):
    """Of every setting, in blocks: one in each round."""

    rounds: Annotated[int, Field(ge=2)]

    def block(self, seconds_a_frame: float) -> int:
        """Return the frames of a block, so that all blocks of a setting have enough frames and take long enough."""
        frames = max(self.frames, self.seconds / seconds_a_frame)
        return int(-(-frames // self.rounds))


class SustainedRule(_Part):
    """A run at a camera's pace."""

    window: Positive  # seconds of which one median is kept
    cool_down: Positive  # seconds after the run until it is given up to wait for the first medians
    returned: Annotated[float, Field(gt=1)]  # of the median before: the device has cooled down


class SoakRule(_Part):
    """Whether memory grows."""

    frames: Positives
    every: Positives  # frames between two looks at the memory
    settled: Share  # of the frames come first and do not count
    flat: Positives  # bytes over all frames: less is no growth


class StatisticsSpec(_Part):
    """Of what is concluded."""

    resamples: Positives  # of the bootstrap
    interval: Share


class ValidSpec(_Part):
    """What makes a run invalid."""

    interrupted: Share  # others took more than this of all cores' time
    charge: Share  # the battery is below


class LimitsSpec(_Part):
    """Of a result file."""

    bytes: Positives
    subjects: Positives
    pasted: Positives  # bytes of a pasted result, unpacked


class Protocol(_Part):
    """The file."""

    version: Literal[1]
    frames: ClipRule
    warm_up: AmountSpec
    measured: MeasuredSpec
    quick: MeasuredSpec  # to see a run, not to quote it: such a run is not valid
    iterations: Annotated[tuple[Positives, ...], Field(min_length=3)]  # K whose line is the cost of an iteration
    landmarks: Annotated[tuple[str, ...], Field(min_length=3)]  # layouts whose line is the cost of a landmark
    sustained: SustainedRule
    soak: SoakRule
    statistics: StatisticsSpec
    valid: ValidSpec
    limits: LimitsSpec


@cache
def protocol() -> Protocol:
    """Return the constants."""
    return Protocol.model_validate_json(_text())


@cache
def protocol_sha256() -> str:
    """Return the hash of the file, which every result states."""
    return hashlib.sha256(_text()).hexdigest()


def _text() -> bytes:
    return resources.files("qlot.runtime.contract").joinpath(FILE).read_bytes()
