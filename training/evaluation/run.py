"""One evaluation from request to files."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from qlot.runtime.partial import partial_path
from qlot.runtime.progress import Progress
from qlot.training.data.clip import Array, Clip, DataError
from qlot.training.data.sources.stills import LABEL_OFFSET
from qlot.training.evaluation.datasets import MOVED, EvaluationData, Kind, Split, Stills, Video, open_data
from qlot.training.evaluation.faceless import KINDS, false_acquisitions, reacquisition, user_frames
from qlot.training.evaluation.pictures import Tile, tile, write_error_cdf, write_nad, write_sheet
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.results import ClipResult, Evaluation, FacelessResult, StillsResult, VideoResult, VideoRun
from qlot.training.evaluation.scores import WORST, main_errors, score_stills
from qlot.training.evaluation.stills import label_box, measure_stills
from qlot.training.evaluation.subject import ReadyNetwork, Subject, open_subject
from qlot.training.evaluation.video import TrackedClip, frame_errors, score_clip, total, track_clip

Part = Literal["stills", "video", "faceless"]
PARTS: tuple[Part, ...] = ("stills", "video", "faceless")
RESULTS = "results.json"
PICTURES = ("errors.png", "nad-*.png", "worst-*.png")
SPACING = 10  # least distance of the frames of one video on its sheet
MADE_CLIPS, MADE_FRAMES = 8, 75  # frames without a face are made of at most so many clips, and of so much of each


@dataclass(frozen=True)
class EvaluationRequest:
    """What a user asked for.

    Attributes:
        subject: a bundle's folder, a weights file, or the name of shipped weights.
        data: folder of the material.
        kind: what it holds.
        split: which part of it.
        layout: one layout of labels; None for all that the subject can be held against.
        parts: which measurements.
        faceless: the user's own frames without a face, besides those that are made.
        out: folder of the result; None prints only.
        force: write into a folder that exists.
        protocol: everything else that decides a figure.
        reset_state: measure the videos a second time with the hidden state reset in every frame.
        threads: of the engine.
    """

    subject: str
    data: Path
    kind: Kind = "faces-video"
    split: Split = "val"
    layout: str | None = None
    parts: tuple[Part, ...] = PARTS
    faceless: Path | None = None
    out: Path | None = None
    force: bool = False
    protocol: EvaluationProtocol = field(default_factory=EvaluationProtocol)
    reset_state: bool = False
    threads: int = 1


def evaluate(request: EvaluationRequest, progress: Progress = lambda _: None) -> Evaluation:
    """Measure, write and return the result.

    Raises:
        DataError: subject, material or labels are unusable, or do not belong together; nothing is written.
        QlotError: a bundle or video is unusable; likewise.
    """
    subject = open_subject(request.subject, request.threads)
    material = open_data(request.kind, request.data, request.split)
    with _folder(request.out, request.force) as folder:
        work = _Work(request, subject, folder, progress)
        result = work.run(_fitting(material, subject, request), material.videos)
        if folder is not None:
            (folder / RESULTS).write_text(result.model_dump_json(indent=1) + "\n")
    return result


def _fitting(material: EvaluationData, subject: Subject, request: EvaluationRequest) -> EvaluationData:
    """Return the material that the subject can be held against.

    Raises:
        DataError: there is none, and labels are needed.
    """
    layout = subject.info.layout or request.layout
    if request.layout and request.layout != layout:
        raise DataError(f"the bundle has the layout {layout}, not {request.layout}: leave out --layout.")
    if layout is None:
        return material
    fitting = material.of(layout)
    if fitting.layouts or set(request.parts) == {"faceless"}:
        return fitting
    labels = " or ".join(material.layouts)
    raise DataError(
        f"{request.data} is labelled with {labels}, {subject.info.name} is to be evaluated with {layout}: export the "
        f"bundle with --layout {material.layouts[0]}, or evaluate the weights."
    )


@dataclass
class _Work:
    """The measurements, and what they leave for the pictures and remarks."""

    request: EvaluationRequest
    subject: Subject
    folder: Path | None
    progress: Progress
    errors: dict[str, Array] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def run(self, material: EvaluationData, videos: tuple[Video, ...]) -> Evaluation:
        """Measure what is labelled in the subject's layouts; frames without a face are made of any videos."""
        request, parts = self.request, self.request.parts
        stills = [self._stills(s) for s in material.stills] if "stills" in parts else []
        self.remarks += [
            f"{s.name}: the labels less ({LABEL_OFFSET[0]:g}, {LABEL_OFFSET[1]:g}) px, by which all of them lie off "
            "(python -m qlot.training.tools.label_offset)"
            for s in stills
            if s.name.endswith(MOVED)
        ]
        video: list[VideoResult] = []
        if "video" in parts:
            layouts = dict.fromkeys(v.layout for v in material.videos)
            video = [self._video(layout, material.of(layout).videos, stills) for layout in layouts]
            if not video:
                self.remarks.append("no video is labelled in the layout that was evaluated: tracking is not measured")
        faceless = self._faceless(material, videos) if "faceless" in parts else None
        if self.folder is not None and self.errors:
            write_error_cdf(self.folder / "errors.png", self.errors, request.protocol.failure)
        tools = ("qlot-mobile", "numpy", "torch", "onnxruntime")
        return Evaluation(
            subject=self.subject.info,
            data=request.data.resolve().name,
            kind=request.kind,
            split=request.split,
            protocol=request.protocol,
            versions={tool: _version(tool) for tool in tools},
            stills=tuple(stills),
            video=tuple(video),
            faceless=faceless,
            remarks=tuple(self.remarks),
        )

    def _stills(self, stills: Stills) -> StillsResult:
        self.progress(f"{stills.name}, {stills.layout}: {len(stills.source)} faces")
        network = self.subject.network(stills.layout)
        faces = measure_stills(network, stills.source, self.request.protocol)
        result = score_stills(stills.name, faces, network.layout, self.request.protocol)
        errors = main_errors(faces, network.layout)
        self.errors[f"{stills.name}, {stills.layout}, {result.accuracy[0].normaliser}"] = errors
        if self.folder is not None:
            tiles = []
            for i in np.argsort(-np.nan_to_num(errors))[:WORST]:
                clip = stills.source.clip(int(i), 1, np.random.default_rng(0))
                title = f"{Path(clip.source).name}, {100 * errors[i]:.1f} %"
                tiles.append(_tile(network, clip, 0, faces.predictions[i], faces.covariances[i], title))
            title = f"worst of {stills.name}, {stills.layout}, NME over {result.accuracy[0].normaliser}"
            write_sheet(self.folder / f"worst-{stills.name}-{stills.layout}.png", title, tiles)
        return result

    def _video(self, layout: str, videos: tuple[Video, ...], stills: list[StillsResult]) -> VideoResult:
        network = self.subject.network(layout)
        if not network.fitted:
            self.remarks.append(
                f"{layout}: these weights state no confidence, so the tracker takes every plausible crop for a face "
                "and gives none up; a bundle has one fitted at export"
            )
        ways: list[tuple[Literal["carried", "reset each frame"], bool]] = [("carried", False)]
        if self.request.reset_state:
            ways.append(("reset each frame", True))
        scored: dict[bool, list[ClipResult]] = {reset: [] for _, reset in ways}
        worst: list[tuple[float, Tile]] = []
        pooled: list[Array] = []
        for video in videos:
            self.progress(f"tracking {video.name}, {layout}")
            clip = video.load()
            for _, reset in ways:
                track = track_clip(network, clip, self.request.protocol, reset_state=reset)
                scored[reset].append(score_clip(track, network.layout, self.request.protocol))
                if not reset:
                    kind, errors = next(iter(frame_errors(track, network.layout).items()))
                    pooled.append(errors)
                    if self.folder is not None:
                        worst += _worst_frames(network, track, errors, video.name)
                        worst = sorted(worst, key=lambda pair: -pair[0])[:WORST]
        self.errors[f"frames of videos, {layout}, {kind}"] = np.concatenate(pooled)
        same = next((s for s in stills if s.layout == layout), None)
        still = same.accuracy[0].nme.value if same else None
        runs = tuple(
            VideoRun(hidden=how, totals=total(scored[reset], still), clips=tuple(scored[reset])) for how, reset in ways
        )
        if self.folder is not None:
            title = f"worst frames of the videos, {layout}, NME over {kind}"
            write_sheet(self.folder / f"worst-video-{layout}.png", title, [tile for _, tile in worst])
            means = {f"all clips, hidden state {run.hidden}": run.totals.nad for run in runs}
            clips = {v.name: c.stability.nad for v, c in zip(videos, runs[0].clips, strict=True)}
            write_nad(self.folder / f"nad-{layout}.png", means, clips)
        return VideoResult(layout=layout, confidence=network.spec.confidence.calibration, runs=runs)

    def _faceless(self, material: EvaluationData, videos: tuple[Video, ...]) -> FacelessResult | None:
        request, protocol = self.request, self.request.protocol
        network = self._confident(material)
        if network is None:
            self.remarks.append(
                "frames without a face are not measured: the weights state no confidence for these layouts, which "
                "decides what counts as a face; evaluate a bundle"
            )
            return None
        videos = videos[:MADE_CLIPS]
        found, back, clips = [], [], [_start_of(v) for v in videos]
        for kind, make in KINDS.items() if clips else ():
            self.progress(f"frames without a face: {kind}")
            rng = np.random.default_rng(protocol.seed)
            found.append(false_acquisitions(kind, network, protocol, (make(clip, network, rng) for clip in clips)))
        if request.faceless is not None:
            self.progress(f"frames without a face: {request.faceless}")
            own = false_acquisitions(request.faceless.name, network, protocol, [user_frames(request.faceless)])
            found.append(own)
        for video in videos:
            self.progress(f"a face that comes back: {video.name}")
            back.append(reacquisition(network, protocol, video.load(), np.random.default_rng(protocol.seed)))
        if not found:
            self.remarks.append("there is neither a video to make frames without a face of, nor --faceless")
            return None
        return FacelessResult(layout=network.layout.name, false_acquisitions=tuple(found), reacquisitions=tuple(back))

    def _confident(self, material: EvaluationData) -> ReadyNetwork | None:
        own = self.subject.info.layout
        networks = (self.subject.network(layout) for layout in ([own] if own else material.layouts))
        return next((n for n in networks if n.fitted), None)


def _start_of(video: Video) -> Clip:
    clip = video.load()
    few = slice(0, MADE_FRAMES)
    return replace(clip, frames=clip.frames[few], landmarks=clip.landmarks[few], valid=clip.valid[few])


def _worst_frames(
    network: ReadyNetwork, track: TrackedClip, errors: Array, name: str, most: int = 3
) -> list[tuple[float, Tile]]:
    """Return the frames of a video that are furthest off, some way apart; a frame without landmarks is furthest."""
    out: list[tuple[float, Tile]] = []
    chosen: list[int] = []
    far = np.nan_to_num(errors, nan=np.inf)
    for t in map(int, np.argsort(-far)):
        if len(out) == most or track.clip.valid[t].sum() < 2 or any(abs(t - other) < SPACING for other in chosen):
            continue
        chosen.append(t)
        title = f"{name}, frame {t}, {f'{100 * far[t]:.1f} %' if np.isfinite(far[t]) else 'no landmarks'}"
        picture = _tile(network, track.clip, t, track.predictions[t], track.covariances[t], title)
        out.append((float(far[t]), picture))
    return out


def _tile(network: ReadyNetwork, clip: Clip, frame: int, predictions: Array, covariances: Array, title: str) -> Tile:
    box = label_box(clip, frame, network.spec.preprocessing.crop)
    labels = np.where(clip.valid[frame][:, None], clip.landmarks[frame], np.nan)
    return tile(clip.frames[frame], box, labels, predictions, covariances, network.layout, title)


@contextmanager
def _folder(out: Path | None, force: bool) -> Iterator[Path | None]:
    """Yield a temporary folder whose files appear in `out` when the block ends, and are removed when it fails.

    Raises:
        DataError: `out` exists and `force` does not hold, or it is no folder.
    """
    if out is None:
        yield None
        return
    if out.exists() and not (force and out.is_dir()):
        how = ", or replace its files by --force" if out.is_dir() else ""
        raise DataError(f"{out} exists: choose another --out{how}.")
    temporary = partial_path(out)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if out.exists():
            for stale in [path for pattern in PICTURES for path in out.glob(pattern)]:
                stale.unlink()  # of an earlier run: would contradict the new figures
            for file in temporary.iterdir():
                file.replace(out / file.name)
        else:
            temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
