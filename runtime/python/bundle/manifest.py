"""The manifest: everything an app needs to know about a bundle, as data.

One schema for every runtime: `runtime/contract/manifest.schema.json` is generated from these classes
(`python -m qlot.runtime.bundle.manifest` prints it) and a test keeps the two equal.

Compatibility. `schema_version` is MAJOR.MINOR. A runtime reads its own major version only. Within it, a newer minor
may add optional fields, which an older runtime ignores; an unknown field in a manifest of the runtime's own minor
version or an older one is an error, because it can only be a mistake. See `runtime/contract/README.md`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qlot.runtime.bundle.limits import (
    MAX_BUNDLE_BYTES,
    MAX_CHANNELS,
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_LANDMARKS,
    MAX_SIDE,
    MAX_STEPS,
    Coordinate,
    Count,
    Finite,
    Index,
    Label,
    Name,
    Operations,
    Positive,
    Positives,
    Seconds,
    Share,
    Steps,
    Text,
)

SCHEMA_VERSION = "1.2"

StageName = Literal["extractor", "refiner", "refiner_unrolled"]
Lowering = Literal["dense", "windowed"]
Scheme = Literal["fp32", "fp16", "w8", "w8a8", "palette6", "palette4", "w4"]
Target = Literal["onnx", "tflite", "coreml"]
SearchSide = Annotated[float, Field(ge=0.05, le=4)]
SearchSides = Annotated[tuple[SearchSide, ...], Field(min_length=1, max_length=16)]
Point3 = tuple[Coordinate, Coordinate, Coordinate]
Indices = Annotated[tuple[Index, ...], Field(max_length=MAX_LANDMARKS)]
Shape = Annotated[tuple[Annotated[int, Field(gt=0, le=MAX_ELEMENTS)], ...], Field(max_length=MAX_DIMENSIONS)]
ListedPath = Annotated[str, Field(max_length=200)]  # which of them are safe: `folder.check_paths`
Landmarks = Annotated[int, Field(ge=1, le=MAX_LANDMARKS)]
LogSigma = Annotated[float, Field(ge=-100, le=100)]
Operators = Annotated[dict[Label, Count], Field(max_length=500)]
Notes = Annotated[dict[Label, Text], Field(max_length=100)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(_Part):
    """One named input or output of a graph."""

    name: Label
    shape: Shape
    dtype: Literal["float32", "int32", "uint8"]
    meaning: Text
    unit: Label

    @model_validator(mode="after")
    def _small_enough(self) -> TensorSpec:
        if math.prod(self.shape) > MAX_ELEMENTS:
            raise ValueError(f"{self.shape} has more than {MAX_ELEMENTS:,} elements")
        return self


class DelegationSpec(_Part):
    """How an engine split a graph between a delegate and its own kernels, as it reported where the bundle was made."""

    delegate: Label
    partitions: Count  # connected parts that the delegate runs
    outside: Annotated[
        dict[Label, Positives], Field(max_length=500)
    ]  # operators left to the engine's own kernels, by name


class StageSpec(_Part):
    """One graph: its file (for target coreml the folder of its files), its interface, and what it costs."""

    file: ListedPath
    function: Label | None = None  # of a file that several stages share: TFLite signature, Core ML function; since 1.1
    iterations: Annotated[int, Field(ge=0, le=MAX_STEPS)]  # refinement steps inside: 0 for the extractor
    inputs: Annotated[tuple[TensorSpec, ...], Field(max_length=16)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(max_length=16)]
    macs: Operations  # multiply-accumulates of one call
    ops: Operators  # operator histogram of the stored graph
    delegation: DelegationSpec | None = None  # since 1.1

    def holds(self, path: str) -> bool:
        """Whether a listed file is this graph, or part of it where the graph is a folder."""
        return path == self.file or path.startswith(f"{self.file}/")


class FileSpec(_Part):
    """Size and hash of one file of the bundle; every file but the manifest is listed."""

    path: ListedPath
    bytes: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]
    sha256: Sha256


class ModelSpec(_Part):
    """Which network this is and where its weights come from."""

    preset: Label
    parameters: Operations
    checkpoint: Label  # file name or the name of shipped weights
    checkpoint_sha256: Sha256
    licence: Text


class CropSpec(_Part):
    """The crop rule (`runtime/contract/README.md`): constants of the square in canonical units, and the resampling."""

    center: tuple[Coordinate, Coordinate]  # x, y (y up)
    side: Share  # canonical units
    resampling: Literal["antialiased-tent"] = "antialiased-tent"
    border: Literal["zero"] = "zero"
    pixel_center: Literal["integer"] = "integer"


class PreprocessingSpec(_Part):
    """What the image input expects. Mean and standard deviation are inside the graph."""

    size: Annotated[int, Field(gt=0, le=MAX_SIDE)]  # side of the square network input, pixels
    color: Literal["RGB"] = "RGB"
    range: tuple[Finite, Finite] = (0.0, 1.0)
    layout: Literal["NCHW"] = "NCHW"
    crop: CropSpec


class StateSpec(_Part):
    """The recurrent state a caller carries between frames, and its rules in words for those who port them."""

    landmarks: tuple[
        Literal[1], Landmarks, Literal[7]
    ]  # 1, N, 7: x, y, log sigma x, log sigma y, artanh rho, dx, dy in crop pixels
    hidden: tuple[Literal[1], Landmarks, Annotated[int, Field(ge=1, le=MAX_CHANNELS)]]  # 1, N, C
    init: Text
    reset: Text
    crop_change: Text
    clamp_position: Share  # |x|, |y| in half image sides, applied to a frame's final output
    clamp_log_sigma: tuple[LogSigma, LogSigma]  # normalised, likewise


class IterationSpec(_Part):
    """How many refinement steps a frame gets."""

    cold: Steps
    tracking: Steps


class GateSpec(_Part):
    """Default of the uncertainty gate. A radius of 0 switches it off."""

    radius: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]  # pixels of the network input
    cutoff: Annotated[float, Field(ge=0, lt=1)]


class SteadySpec(_Part):
    """How landmarks are kept steady after the network. A unit of 0 leaves them as the network gives them.

    A landmark's noise u is `unit` times the geometric mean of its standard deviations along the axes of its ellipse.
    """

    unit: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.2
    sudden: Positive = 8.0  # u: a deviation of this size is taken in at once
    lasting: Positive = 0.8  # u: one that lasts is motion from this size on
    lasting_cutoff: Positive = 1.0  # Hz: how long it has to last
    speed: Positive = 12.0  # u a second: a landmark as fast as this is in motion
    moving_cutoff: Positive = 3.5  # Hz: low pass of a landmark in motion, about its own course
    moving_share: Share = 0.6  # of what that takes in, for its velocity
    rest_cutoff: Positive = 0.2  # Hz: how fast a velocity without evidence is given up


class ConfidenceSpec(_Part):
    """Probability that the crop shows the tracked face.

    confidence = sigmoid(bias + w_spread * ln(spread)), where spread is the geometric mean over landmarks of
    sqrt(sigma_x sigma_y) over the fitted scale (pixels per canonical unit).
    """

    bias: Finite
    w_spread: Finite
    found: Annotated[float, Field(gt=0, lt=1)]  # a candidate at or above is a face
    lost: Annotated[float, Field(gt=0, lt=1)]  # a tracked face below is on its way to being lost
    calibration: Text  # the data it was fitted on, and how well it separates

    @model_validator(mode="after")
    def _hysteresis(self) -> ConfidenceSpec:
        if self.lost > self.found:
            raise ValueError(f"lost = {self.lost} lies above found = {self.found}: every face would be lost at once")
        return self


class TrackingSpec(_Part):
    """Constants of the tracker, alike in every runtime. Times in seconds, lengths as a share of the crop's side."""

    hold_shift: Share = 0.03  # the crop rests while its target is nearer than this
    hold_scale: Share = 0.06  # ... and its ln side differs by less
    settle: Share = 0.2  # a moving crop comes to rest within this share of the two bands
    crop_time_constant: Seconds = 0.1
    jump_shift: Share = 0.25  # beyond it the crop follows at once
    lost_after: Seconds = 0.2  # below the lost threshold for this long
    lost_for: Seconds = 1.0  # how long after a loss the status reads lost, and the last crop is tried first
    max_gap: Seconds = 0.5  # a longer pause between frames, or a step back in time, lets a face go; a search goes on
    candidates_per_frame: Steps = 1
    search_around: SearchSides = (1.0, 1.3, 1.7)  # sides, of the last crop's
    search_revisit: Positives = 3  # scanned candidates between two around the last crop
    search_sides: SearchSides = (0.9, 0.55, 0.33)  # of min(W, H): the scan
    search_stride: Annotated[float, Field(ge=0.1, le=1)] = 0.6  # greatest distance of candidates, of their side
    follow_ups: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 2  # promising candidates in a row that are refined at once
    min_side: Positive = 24.0  # pixels of the frame; a smaller crop is no face


class LayoutSpec(_Part):
    """The landmarks: where they lie on the canonical face, what they are called, how they are drawn."""

    name: Name
    points: Annotated[
        tuple[Point3, ...], Field(min_length=1, max_length=MAX_LANDMARKS)
    ]  # x right, y up, z to the viewer
    names: Annotated[tuple[Name, ...], Field(max_length=MAX_LANDMARKS)]  # no two the same
    groups: Annotated[dict[Name, Indices], Field(max_length=1000)]
    mirror: Indices
    edges: Annotated[tuple[tuple[Index, Index], ...], Field(max_length=8 * MAX_LANDMARKS)]
    outer_eyes: tuple[Index, Index] | None
    write_mask: Indices = ()  # landmarks kept from writing into the mixer, baked into the graph

    @model_validator(mode="after")
    def _indices_fit(self) -> LayoutSpec:
        n = len(self.points)
        if len(self.names) != n or len(self.mirror) != n:
            raise ValueError(f"names and mirror must have {n} entries, one for each point")
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:  # a table would keep one of them
            raise ValueError(f"names must be unique, repeated: {', '.join(twice[:10])}")
        used = [i for g in self.groups.values() for i in g] + [i for e in self.edges for i in e]
        used += [*self.mirror, *self.write_mask, *(self.outer_eyes or ())]
        if used and max(used) >= n:
            raise ValueError(f"index {max(used)} is outside the {n} landmarks")
        return self


class CalibrationSpec(_Part):
    """The frames a static quantisation was calibrated on."""

    source: Label  # "builtin", or the name of the user's clip or folder
    frames: Positives
    sha256: Sha256  # of the decoded RGB frames
    # Since 1.1: what the float tracker met on them.
    calls: dict[StageName, Count] = Field(default_factory=dict)  # recorded, of each stage
    cold_starts: Count | None = None  # re-acquisitions included
    ranges: dict[StageName, Annotated[dict[Label, tuple[Finite, Finite]], Field(max_length=16)]] = Field(
        default_factory=dict
    )  # of each stage's inputs


class SchemeSpec(_Part):
    """The quantisation as resolved: what was asked for and what each group of modules became."""

    name: Scheme
    requested: Label  # the flag the user typed
    rules: Notes  # module group -> storage and arithmetic
    calibration: CalibrationSpec | None


class ToleranceSpec(_Part):
    """How far a free run may stray from float32 PyTorch, at any landmark and frame."""

    px: Positive  # distance after the frame's last step, pixels of the network input
    log_sigma: Positive  # difference of ln sigma: the gate and the confidence read it


class WorstSpec(_Part):
    """Where the largest error of a replay lies."""

    frame: Count
    step: Steps
    landmark: Name


class ParitySpec(_Part):
    """A free-running replay of this bundle against float32 PyTorch, in pixels of the network input.

    Over all frames, steps and landmarks; `max_result_px` over the frames' last steps alone.
    """

    reference: Label
    clip: Label
    frames: Positives
    median_px: Finite
    p99_px: Finite
    max_px: Finite
    max_result_px: Finite
    max_log_sigma: Finite
    worst: WorstSpec
    tolerance: ToleranceSpec


class GoldenSpec(_Part):
    """Where the golden sequence is, or why there is none."""

    included: bool
    index: ListedPath | None = None
    frames: Count = 0
    tolerance: ToleranceSpec | None = None


class TrackerSpec(_Part):
    """The part of a manifest that a tracker lives by, whatever runs the network."""

    preprocessing: PreprocessingSpec
    state: StateSpec
    iterations: IterationSpec
    gate: GateSpec
    confidence: ConfidenceSpec
    tracking: TrackingSpec
    steady: SteadySpec = SteadySpec(unit=0)  # since 1.2; an older bundle's landmarks stay as the network gives them
    layout: LayoutSpec


class Manifest(TrackerSpec):
    """`manifest.json` of a bundle."""

    schema_version: Annotated[str, Field(max_length=13, pattern=r"^[0-9]{1,6}\.[0-9]{1,6}$")]
    model: ModelSpec
    target: Target
    min_ios: Annotated[int, Field(ge=1, le=100)] | None = None  # target coreml: oldest iOS it runs on; since 1.1
    lowering: Lowering
    scheme: SchemeSpec
    stages: dict[StageName, StageSpec]
    golden: GoldenSpec
    parity: ParitySpec | None
    tools: Notes
    files: Annotated[tuple[FileSpec, ...], Field(max_length=MAX_FILES)]

    @model_validator(mode="after")
    def _parts_agree(self) -> Manifest:
        for required in ("extractor", "refiner"):
            if required not in self.stages:
                raise ValueError(f"stage {required!r} is missing")
        n = len(self.layout.points)
        if self.state.landmarks != (1, n, 7) or self.state.hidden[:2] != (1, n):
            raise ValueError(f"state shapes do not fit the {n} landmarks of the layout")
        listed = [f.path for f in self.files]
        if len(set(listed)) != len(listed):
            raise ValueError("a file is listed twice")
        if sum(f.bytes for f in self.files) > MAX_BUNDLE_BYTES:
            raise ValueError(f"the files have more than {MAX_BUNDLE_BYTES // 2**20} MB in all")
        folders = self.target == "coreml"  # there a graph is a folder, and what must be listed is a file in it
        missing = {
            s.file
            for s in self.stages.values()
            if not any(s.holds(path) and (path == s.file) != folders for path in listed)
        }
        places = [(s.file, s.function) for s in self.stages.values()]
        if len(set(places)) != len(places):
            raise ValueError("stages that share a file need a function each, no two the same")
        if self.golden.index and self.golden.index not in listed:
            missing.add(self.golden.index)
        if missing:
            raise ValueError(f"not listed under files: {', '.join(sorted(missing))}")
        if self.golden.included and (self.golden.index is None or self.golden.tolerance is None):
            raise ValueError("golden.included needs golden.index and golden.tolerance")
        return self


def json_schema() -> dict[str, Any]:
    """Return the JSON schema that the other runtimes are held to."""
    schema = Manifest.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"qlot-bundle-{SCHEMA_VERSION}", **schema}


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.dumps(json_schema(), indent=2, sort_keys=True) + "\n")
