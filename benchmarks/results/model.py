"""A result: what was measured where, with all samples. One file for one run.

The schema for every runtime, `runtime/contract/bench_result.schema.json`, is generated from these classes
(`python -m qlot.benchmarks.results.model` prints it) and a test keeps the two equal. Times are milliseconds, sizes
bytes, temperatures degrees Celsius. What a platform does not tell is null, which reads `unknown`, and never a guess.

Nothing that can be concluded is stored: `qlot.benchmarks.report` computes it, from the samples of a phone and of a
host alike.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qlot.runtime.bundle.limits import Count, Label, Operations, Positive, Positives, Steps, Text
from qlot.runtime.bundle.manifest import Lowering, Scheme, Sha256, StageName, Target

FORMAT, SCHEMA_VERSION = "qlot-bench", "1.0"
MAX_SUBJECTS, MAX_SETTINGS, MAX_ROUNDS, MAX_SAMPLES, MAX_WINDOWS = 64, 512, 1000, 200_000, 10_000

DeviceClass = Literal["host", "emulated", "browser", "phone"]
# Of a frame through the tracker, and of the graphs alone, called as an app calls its engine.
Part = Literal[
    "frame", "preprocess", "extractor", "refiner", "postprocess", "network", "network extractor", "network refiner"
]
Milliseconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Samples = Annotated[tuple[Milliseconds, ...], Field(max_length=MAX_SAMPLES)]
Bytes = Annotated[int, Field(ge=0, le=2**48)]
Share = Annotated[float, Field(ge=0, le=1)]
Celsius = Annotated[float, Field(ge=-60, le=200)]
Fps = Annotated[float, Field(gt=0, le=1000)]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")]  # UTC
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SettingSpec(_Part):
    """What one block of a round runs: frames through the whole tracker, or the network's graphs alone, K steps each."""

    subject: Annotated[int, Field(ge=0, lt=MAX_SUBJECTS)]
    what: Literal["frame", "network"]
    iterations: Annotated[int, Field(ge=0, le=64)]  # 0: it has no steps


class RunSpec(_Part):
    """How it was measured."""

    id: RunId  # random
    started: Moment
    seconds: Positive
    driver: Label  # and its version: "qlot-mobile 0.1.0", "QLOT bench for Android 1.0"
    protocol: Positives
    protocol_sha256: Sha256
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    quick: bool
    settings: Annotated[tuple[SettingSpec, ...], Field(min_length=1, max_length=MAX_SETTINGS)]
    rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS)]


class EnvironmentSpec(_Part):
    """Where it was measured."""

    device_class: DeviceClass
    device: Label  # model; of a host its processor
    soc: Label | None
    os: Label
    cores: Positives | None
    memory: Bytes | None
    governor: Label | None
    kilohertz: Positives | None  # of the first core, before the run
    battery: Share | None  # charge
    charging: bool | None
    power_saving: bool | None
    thermal: Label | None  # the platform's own word: nominal, fair, light, severe
    celsius: Celsius | None
    foreground: bool | None
    app: Label | None  # name, version, build
    other_load: Share | None  # of all cores' time during the run: what others took, a hypervisor included


class PlacementSpec(_Part):
    """Where a stage ran."""

    asked: Label  # accelerator: cpu, xnnpack, gpu, ane, nnapi, webgpu
    used: Label | None
    delegated: Count | None  # nodes
    nodes: Count | None  # in all


class BundleSpec(_Part):
    """Which bundle."""

    manifest_sha256: Sha256  # it holds the hash of every other file
    checkpoint_sha256: Sha256
    preset: Label
    target: Target
    scheme: Scheme
    lowering: Lowering
    layout: Label
    landmarks: Positives
    size: Positives  # side of the network input, pixels
    steps: Steps  # K of a tracked frame, by its manifest
    bytes: Bytes  # of the stages' files
    macs: dict[StageName, Operations]


class ReplaySpec(_Part):
    """The golden sequence, replayed in the same process on the same engine and accelerator before anything is timed."""

    frames: Positives
    max_px: Annotated[float, Field(ge=0, le=1e9)]
    max_log_sigma: Annotated[float, Field(ge=0, le=1e9)]
    tolerance_px: Positive
    tolerance_log_sigma: Positive

    @property
    def passed(self) -> bool:
        """Whether it kept to the bundle's tolerance."""
        return self.max_px <= self.tolerance_px and self.max_log_sigma <= self.tolerance_log_sigma


class LoadSpec(_Part):
    """Before the first measured frame."""

    open_ms: Milliseconds  # the bundle, its hashes included, and the engine's sessions
    first_ms: Milliseconds  # the first frame


class SummarySpec(_Part):
    """In place of samples, in a result that was passed on as text."""

    count: Positives
    least: Milliseconds
    p50: Milliseconds
    p90: Milliseconds
    p99: Milliseconds
    mean: Milliseconds
    mad: Milliseconds


class SeriesSpec(_Part):
    """Times of one part of a frame at K steps a frame: the samples of every round, or their medians and a summary."""

    part: Part
    iterations: Annotated[int, Field(ge=0, le=64)]
    rounds: Annotated[tuple[Samples, ...], Field(max_length=MAX_ROUNDS)] | None = None
    medians: Samples | None = None
    summary: SummarySpec | None = None

    @model_validator(mode="after")
    def _one_form(self) -> SeriesSpec:
        whole, short = self.rounds is not None, self.medians is not None and self.summary is not None
        if whole == short or (whole and (self.medians is not None or self.summary is not None)):
            raise ValueError("a series has rounds, or medians and a summary")
        if not (self.rounds or self.medians) or (self.rounds and not all(self.rounds)):
            raise ValueError("a series without samples")
        return self


class WindowSpec(_Part):
    """Some seconds of a sustained run."""

    start: Annotated[float, Field(ge=0, le=1e6)]  # seconds
    frames: Positives
    p50: Milliseconds
    p90: Milliseconds
    p99: Milliseconds
    missed: Count  # frames that were not done when the next one came
    celsius: Celsius | None
    kilohertz: Positives | None


class SustainedSpec(_Part):
    """A run at a camera's pace."""

    iterations: Steps
    fps: Fps
    seconds: Positive
    windows: Annotated[tuple[WindowSpec, ...], Field(min_length=1, max_length=MAX_WINDOWS)]
    cool_down: Annotated[float, Field(ge=0, le=1e6)] | None  # seconds until frames were as fast as before; null: never


class SoakSpec(_Part):
    """Memory over many frames: the process' resident bytes after every so many."""

    frames: Positives
    every: Positives
    resident: Annotated[tuple[Bytes, ...], Field(min_length=2, max_length=MAX_WINDOWS)]


class MemorySpec(_Part):
    """What the process holds."""

    peak: Bytes | None  # largest resident set so far; of all subjects of the run that were loaded before
    soak: SoakSpec | None


class EnergySpec(_Part):
    """From the battery's charge before and after a long run, or why not."""

    status: Literal["measured", "not measured"]
    reason: Text
    joules_a_frame: Positive | None = None

    @model_validator(mode="after")
    def _no_estimate(self) -> EnergySpec:
        if (self.status == "measured") != (self.joules_a_frame is not None):
            raise ValueError("energy is measured, with a value, or it is not, without one")
        return self


class SubjectSpec(_Part):
    """One thing that was measured."""

    name: Label
    kind: Literal["bundle", "peer", "yardstick"]
    bundle: BundleSpec | None
    engine: Label  # with its version
    threads: Positives
    placement: dict[StageName, PlacementSpec] = {}
    replay: ReplaySpec | None
    load: LoadSpec | None
    series: Annotated[tuple[SeriesSpec, ...], Field(max_length=MAX_SETTINGS)]
    operations: Operations | None = None  # of one call of a yardstick, multiply-accumulates
    memory: MemorySpec = MemorySpec(peak=None, soak=None)
    energy: EnergySpec
    sustained: SustainedSpec | None = None

    @model_validator(mode="after")
    def _replayed(self) -> SubjectSpec:
        if (self.kind == "bundle") != (self.bundle is not None):
            raise ValueError("a bundle, and nothing else, says which bundle it is")
        timed = self.series or self.sustained
        if self.kind == "bundle" and timed and not (self.replay and self.replay.passed):
            raise ValueError(f"{self.name} was timed without a passing replay of its golden sequence")
        if len({(s.part, s.iterations) for s in self.series}) != len(self.series):
            raise ValueError(f"{self.name}: a series is there twice")
        return self


class RunResult(_Part):
    """A result file."""

    format: Literal["qlot-bench"]
    schema_version: Literal["1.0"]
    run: RunSpec
    environment: EnvironmentSpec
    subjects: Annotated[tuple[SubjectSpec, ...], Field(min_length=1, max_length=MAX_SUBJECTS)]
    valid: bool
    reasons: Annotated[tuple[Text, ...], Field(max_length=100)]  # why it is not

    @model_validator(mode="after")
    def _consistent(self) -> RunResult:
        if self.valid == bool(self.reasons):
            raise ValueError("a result is valid, or it gives reasons")
        names = [subject.name for subject in self.subjects]
        if len(set(names)) != len(names):
            raise ValueError("two subjects have one name")
        if self.run.quick and self.valid:
            raise ValueError("a quick run is not valid")
        for subject in self.subjects:
            for series in subject.series:
                found = len(series.rounds if series.rounds is not None else series.medians or ())
                if found != self.run.rounds:
                    raise ValueError(f"{subject.name}: {found} rounds of {series.part}, the run has {self.run.rounds}")
        if any(setting.subject >= len(self.subjects) for setting in self.run.settings):
            raise ValueError("a setting is of no subject")
        return self


def json_schema() -> dict[str, Any]:
    """Return the JSON schema that every driver's file is held to."""
    schema = RunResult.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{FORMAT}-{SCHEMA_VERSION}", **schema}


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.dumps(json_schema(), indent=2, sort_keys=True) + "\n")
