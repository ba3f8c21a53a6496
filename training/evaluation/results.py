"""The schema of `results.json`. Errors and intervals are shares (0.045 is 4.5 %), times milliseconds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from qlot.runtime.bundle.manifest import Sha256
from qlot.training.evaluation.protocol import EvaluationProtocol

Finite = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[int, Field(ge=0)]
Normaliser = Literal["outer eyes", "face size"]  # distance of the outer eye corners; sqrt(w h) of the labels' box


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SubjectInfo(_Part):
    """What was evaluated."""

    kind: Literal["weights", "bundle"]
    name: str
    sha256: Sha256  # of the weights file; of a bundle's manifest, which holds the hash of every other file
    weights_sha256: Sha256  # of the checkpoint, also of the one a bundle was made from
    preset: str
    parameters: Size
    engine: str
    scheme: str
    layout: str | None  # of a bundle; weights serve any


class Estimate(_Part):
    """A mean over faces and its interval over people (cluster bootstrap, see the protocol)."""

    value: Finite
    low: Finite
    high: Finite


class Accuracy(_Part):
    """Errors over one normaliser."""

    normaliser: Normaliser
    faces: Size  # those whose normaliser is labelled
    nme: Estimate
    median: Finite
    fr10: Estimate
    auc10: Estimate


class WorstFace(_Part):
    """A face to look at."""

    source: str
    nme: Finite


class Subset(_Part):
    """A part of a set that its publication names, or that its pictures tell apart; by the first normaliser."""

    faces: Size
    nme: Finite
    fr10: Finite
    auc10: Finite


class StillsResult(_Part):
    """One set of pictures in one layout."""

    name: str
    layout: str
    faces: Size
    people: Size
    data_sha256: Sha256  # of decoded pixels, labels and their validity, in order
    accuracy: tuple[Accuracy, ...]  # by outer eyes, where the layout has them, and by face size
    coverage: dict[str, Finite]  # "0.95" -> share of errors inside the ellipse that should hold 95 %
    groups: dict[str, Finite]  # landmark group -> NME by the first normaliser
    subsets: dict[str, Subset]  # poses, occlusions, folders; or turn and brightness
    identities: dict[str, Finite]  # person -> NME by the first normaliser
    worst: tuple[WorstFace, ...]


class Stability(_Part):
    """How steady landmarks are over the longest unbroken run of tracked frames, errors against the labels."""

    frames: Size  # of the run
    nmf: Finite | None  # normalised mean flicker, 256 px over face size
    nad: dict[str, Finite]  # frames per block -> Allan deviation of the errors over face size
    flicker: Finite | None  # RMS of second differences of the predictions over face size
    label_flicker: Finite | None  # the same of the raw labels, over the same frames


class EyesResult(_Part):
    """How eyes that open, close and look about were followed, mean of both; None where the labels hold nothing."""

    aperture_r: Finite | None  # correlation over frames with the labels' aperture
    blink_depth: Finite | None  # share of the labels' depth
    pupils: Finite | None  # share of the pupils' movement between the corners


class ClipResult(_Part):
    """One video."""

    source: str
    identity: str
    frames: Size
    data_sha256: Sha256
    tracked: Size  # frames with landmarks
    lost: bool  # some frame had no landmarks, or landmarks off the face
    first_lost: Size | None  # frame
    nme: dict[Normaliser, Finite]  # mean over tracked frames
    fr10: Finite  # share of frames that failed by the first normaliser; a frame without landmarks has
    groups: dict[str, Finite]
    coverage: dict[str, Finite]  # as for stills, over tracked frames
    stability: Stability
    eyes: EyesResult | None  # of layouts with lids in order
    milliseconds: Finite  # median per frame, tracker included


class VideoTotals(_Part):
    """Means over clips, each weighing alike; a clip without a tracked frame counts as lost and in `fr10` alone."""

    clips: Size
    lost: Size
    nme: dict[Normaliser, Finite]
    fr10: Finite
    nmf: Finite | None
    flicker: Finite | None
    label_flicker: Finite | None
    flicker_ratio: Finite | None  # of the two means
    nme_ratio: Finite | None  # to the stills of the same layout by the first normaliser
    nad: dict[str, Finite]  # root of the mean square, for blocks that fit into every clip


class VideoRun(_Part):
    """All videos, tracked in one way."""

    hidden: Literal["carried", "reset each frame"]
    totals: VideoTotals
    clips: tuple[ClipResult, ...]


class VideoResult(_Part):
    """The videos in one layout: with the hidden state carried, and on demand with it reset in every frame."""

    layout: str
    confidence: str  # what the tracker's confidence was fitted on
    runs: tuple[VideoRun, ...]


class FalseAcquisitions(_Part):
    """How often the tracker found a face where there is none."""

    kind: str
    frames: Size
    acquisitions: Size
    per_1000_frames: Finite
    phantom_frames: Finite  # share of the frames in which it reported landmarks


class Reacquisition(_Part):
    """How long a face that comes back stays unseen."""

    source: str
    let_go: bool  # whether the tracker had given the face up while it was gone
    frames: Size | None  # from the first frame with the face to the first with landmarks on it; None: not in this clip
    milliseconds: Finite | None  # by the clip's time stamps


class FacelessResult(_Part):
    """Frames without a face."""

    layout: str
    false_acquisitions: tuple[FalseAcquisitions, ...]
    reacquisitions: tuple[Reacquisition, ...]


class Evaluation(_Part):
    """Everything of one run."""

    version: Literal["1.0"] = "1.0"
    subject: SubjectInfo
    data: str  # name of the folder
    kind: str
    split: str
    protocol: EvaluationProtocol
    versions: dict[str, str]
    stills: tuple[StillsResult, ...]
    video: tuple[VideoResult, ...]
    faceless: FacelessResult | None
    remarks: tuple[str, ...]  # what was left out, and why
